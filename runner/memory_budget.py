"""How many memory checkpoints fit, said before the first of them is taken.

A rank's ring takes `keep` states and two more, because a state that is being written out or handed
over may not be overwritten. When that is more than the node has room for, fewer are kept, further
apart, so that they reach as far back; when not even two fit, none are kept, and durable
checkpoints do it all.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: Chosen: the rest is for the activations, the data, and the system's own cache.
AVAILABLE_SHARE = 0.5
#: Least number of memory checkpoints that are of use: one becoming trusted, one that is.
_LEAST_KEEP = 2
#: States under way at the same time: one to storage, one to the watchdog.
_BUFFERS = 2
_MIB = 2**20
#: Tensors of a parameter's size that an optimizer keeps for it, once it has taken a step.
_STATE_COPIES = {"SGD": 1, "Adagrad": 1, "RMSprop": 1, "Lion": 1, "Adafactor": 1, "Muon": 1}
#: Adam and all its kin; also the guess for an optimizer that is not known.
_USUAL_STATE_COPIES = 2


@dataclass(frozen=True, slots=True)
class MemoryRoom:
    """The bytes that all memory checkpoints of a node may take, and why so many."""

    limit_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What a rank keeps in memory: `keep` states (0: none), one every `every_steps`.

    `outside_keep` of them also have a copy outside of the processes that train. `sentence` says it
    to people, with the numbers; `is_reduced` that it is less than the job asked for.
    """

    keep: int
    every_steps: int
    outside_keep: int
    sentence: str
    is_reduced: bool = False


def optimizer_bytes(optimizer: str, parameter_bytes: int) -> int:
    """Return what the state of an optimizer of this class comes to after its first step."""
    return parameter_bytes * _STATE_COPIES.get(optimizer, _USUAL_STATE_COPIES)


def plan_memory(
    *,
    state_bytes: int,
    keep: int,
    every_steps: int,
    ranks_on_node: int,
    room: MemoryRoom,
    copy_room_bytes: int = 0,
    copy_bytes: int = 0,
) -> MemoryPlan:
    """Return what fits of `keep` states every `every_steps`, `state_bytes` each.

    `copy_bytes` is the size of one copy outside, with the shares of all ranks.
    """
    fitting = room.limit_bytes // max(1, state_bytes * ranks_on_node) - _BUFFERS
    outside = min(keep, copy_room_bytes // copy_bytes) if copy_bytes else 0
    if fitting < _LEAST_KEEP:
        wanted = state_bytes * ranks_on_node * (_LEAST_KEEP + _BUFFERS)
        return MemoryPlan(
            0,
            every_steps,
            0,
            f"no memory checkpoints: two and two buffers of {_mib(state_bytes)} for each of "
            f"{ranks_on_node} ranks take {_mib(wanted)} on this node, which has room for "
            f"{_mib(room.limit_bytes)} ({room.reason}); durable checkpoints alone, and a step "
            "that writes one waits for it",
            is_reduced=True,
        )
    kept = min(keep, fitting)
    spread = -(-keep * every_steps // kept)
    outside = min(outside, kept)
    total = state_bytes * ranks_on_node * (kept + _BUFFERS)
    sentence = (
        f"memory checkpoints: {kept} every {spread} steps, {_mib(state_bytes)} each; with two "
        f"buffers and {ranks_on_node} ranks {_mib(total)} on this node, which has room for "
        f"{_mib(room.limit_bytes)} ({room.reason})"
    )
    if kept < keep:
        sentence += f"; {keep} every {every_steps} were asked for"
    if copy_bytes:
        sentence += f"; {outside} also outside of the workers, {_mib(copy_bytes * outside)}"
    return MemoryPlan(kept, spread, outside, sentence, is_reduced=kept < keep)


def agree(plans: list[MemoryPlan]) -> MemoryPlan:
    """Return the plan that all ranks follow: that of the rank with the least room."""
    least = min(plans, key=lambda plan: (plan.keep, -plan.every_steps))
    return replace(least, outside_keep=min(plan.outside_keep for plan in plans))


def room_for_checkpoints(limit_gb: float | None, available_bytes: int, source: str) -> MemoryRoom:
    """Return the room on this node: what the setting says, else half of what is available."""
    if limit_gb is not None:
        return MemoryRoom(int(limit_gb * 1e9), f"checkpoints.memory_limit_gb={limit_gb:g}")
    return MemoryRoom(
        int(available_bytes * AVAILABLE_SHARE),
        f"half of the {_mib(available_bytes)} available by {source}; "
        "checkpoints.memory_limit_gb sets it",
    )


def available_bytes(meminfo: str, limit: str, usage: str) -> tuple[int, str]:
    """Return the bytes this process may still take, and what says so.

    `meminfo` is the text of /proc/meminfo, `limit` and `usage` those of the memory control group,
    empty where there is none.
    """
    fields = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    available = int(fields.get("MemAvailable", "0 kB").split()[0]) * 1024
    if limit.strip().isdecimal() and usage.strip().isdecimal():
        left = max(0, int(limit) - int(usage))
        if left < available or not available:
            return left, "the control group"
    return available, "the machine"


def _mib(size_bytes: int) -> str:
    mib = size_bytes / _MIB
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.1f} MiB"
