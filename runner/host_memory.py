"""Reads how much memory this process may still take.

Runs in: worker (files of the kernel).
"""

from __future__ import annotations

from pathlib import Path

from runner.memory_budget import MemoryRoom, available_bytes, room_for_checkpoints

#: Where the kernel tells limit and usage of the control group, version 2 and version 1.
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def memory_room(limit_gb: float | None) -> MemoryRoom:
    """Return the room for the memory checkpoints of all ranks on this node."""
    limit, usage = next(
        (pair for pair in ((_text(a), _text(b)) for a, b in _GROUPS) if pair[0]), ("", "")
    )
    return room_for_checkpoints(limit_gb, *available_bytes(_text("/proc/meminfo"), limit, usage))


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""  # not Linux, or no such controller
