"""A line from each worker process to the watchdog that says one thing: it breaks when that dies.

The kernel closes a dead process's connections at once, so a death is known some milliseconds after
it, while Ray's own poll takes tenths of a second. A node that loses its power is noticed by TCP's
keep-alive, or by Ray.

Runs in: watchdog actor, or the driver of an in-process run.
"""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

#: Chosen: a token and a name; more is nobody of ours.
_MAX_GREETING = 512
#: Chosen: a dead node is known after 5 + 3 x 2 s of silence.
_KEEP_ALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))


@dataclass(frozen=True, slots=True)
class LifelineAddress:
    """Where to connect to, and the word that proves that the watchdog has given the address."""

    host: str
    port: int
    token: str


@dataclass(slots=True)
class _Line:
    greeting: bytes = b""
    member_id: str | None = None


class LifelineServer:
    """Listens for lines; `on_broken(member_id)` is called once for each that breaks."""

    def __init__(self, host: str, on_broken: Callable[[str], None]) -> None:
        self._on_broken = on_broken
        self._token = secrets.token_hex(16)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=1024)
        self._listener.setblocking(False)
        port = self._listener.getsockname()[1]
        self.address = LifelineAddress(host, port, self._token)
        self._waker, wake = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(wake, selectors.EVENT_READ, None)
        self._wake = wake
        self._thread = threading.Thread(target=self._run, name="lifelines", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up on everybody."""
        self._waker.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake:
                    self._shut()
                    return
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._hear(key)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it hung up before it was let in
            line, _ = self._listener.accept()
            line.setblocking(False)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEP_ALIVE:
                if hasattr(socket, name):
                    line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            self._selector.register(line, selectors.EVENT_READ, _Line())

    def _hear(self, key: selectors.SelectorKey) -> None:
        line, known = key.fileobj, key.data
        assert isinstance(line, socket.socket), "the listener and the waker were seen to"
        try:
            data = line.recv(_MAX_GREETING)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data and known.member_id is None:
            known.greeting += data
            if known.greeting.endswith(b"\n"):
                token, _, member_id = known.greeting.decode(errors="replace").strip().partition(" ")
                if secrets.compare_digest(token.encode(), self._token.encode()):
                    known.member_id = member_id
                    return
            elif len(known.greeting) < _MAX_GREETING:
                return
            data = b""
        if not data:
            self._selector.unregister(line)
            line.close()
            if known.member_id is not None:
                self._on_broken(known.member_id)

    def _shut(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
