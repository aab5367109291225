"""What the processes of a run listen on, read from /proc."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.ray.runs import name_of

_LISTEN = "0A"


@dataclass(frozen=True)
class Listener:
    """An address that a process accepts connections on."""

    process: str
    host: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    @property
    def is_loopback(self) -> bool:
        mapped = getattr(self.host, "ipv4_mapped", None)
        return (mapped or self.host).is_loopback


def listeners(pids: Iterable[int]) -> list[Listener]:
    """Return every TCP socket that one of the processes listens on."""
    ends = dict(_listening())
    return [Listener(name_of(pid), *ends[i]) for pid in pids for i in _sockets(pid) & ends.keys()]


def _listening() -> Iterator[tuple[str, tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]]:
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                host, _, port = fields[1].partition(":")
                # Words of four bytes, each in the order of the processor (little-endian).
                words = [bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, len(host), 8)]
                yield fields[9], (ipaddress.ip_address(b"".join(words)), int(port, 16))


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            link = str(entry.readlink())
            if link.startswith("socket:["):
                found.add(link[len("socket:[") : -1])
    except OSError:  # the process or the descriptor has gone
        return found
    return found
