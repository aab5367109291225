"""What `DRILL=` may say: `fault@key=value,key=value[;next]`, as data, and what is impossible.

Every mistake is an error before anything starts. What the faults do is in `drill`.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from watchdog.errors import SpecError

FOREVER = 10**9
#: Chosen: no count of anything here is longer, and Python refuses to read very long ones.
_MOST_DIGITS = 18


class During(StrEnum):
    """A moment in a run's life at which a fault may strike instead of at a step."""

    RECOVERY = "recovery"
    CHECKPOINT = "checkpoint"


class Struck(StrEnum):
    """Whom a fault strikes where no rank is named."""

    ALL = "all ranks"
    FIRST = "rank 0"
    LAST = "the last rank"
    WRITER = "rank 0, which writes the checkpoints"
    OUTSIDE = "a process outside of the workers"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the catalogue: defaults, whom it strikes, and what can be said of it.

    `factor` None: it has none. `is_moment`: it may strike `during` something. `ends_process`:
    impossible with `workers: 0`, where training, watchdog and driver are one process.
    """

    struck: Struck
    count: int | None = 1
    factor: float | None = None
    is_moment: bool = False
    ends_process: bool = False


#: The defaults are the mildest that show the fault.
FAULTS: Mapping[str, Kind] = {
    "nan": Kind(Struck.ALL),
    "nan_weights": Kind(Struck.ALL, count=None),
    "nan_batch": Kind(Struck.ALL),
    "spike": Kind(Struck.ALL, factor=10.0),
    "lr": Kind(Struck.ALL, count=FOREVER, factor=10.0),
    "exception": Kind(Struck.FIRST, count=None, is_moment=True),
    "kill": Kind(Struck.FIRST, count=None, is_moment=True, ends_process=True),
    "hang": Kind(Struck.FIRST, count=None, is_moment=True, ends_process=True),
    "slow": Kind(Struck.FIRST, count=FOREVER, factor=3.0),
    "oom": Kind(Struck.FIRST, count=None, factor=0.5),
    "kill_node": Kind(Struck.LAST, count=None, ends_process=True),
    "kill_watchdog": Kind(Struck.OUTSIDE, count=None, ends_process=True),
    "kill_driver": Kind(Struck.OUTSIDE, count=None, is_moment=True),
    "corrupt_checkpoint": Kind(Struck.WRITER, count=None),
    "disk_full": Kind(Struck.WRITER, count=100),
}

_NO_RANK = (Struck.WRITER, Struck.OUTSIDE)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `rank` None: whom its kind strikes by default.

    An episode starts at `step`, or at the first moment of `during` from `step` on, and lasts
    `count` steps or until a recovery; `times` is how many there may be in the whole run.
    `sample` is an index of the data set (`nan_batch` alone).
    """

    name: str
    step: int
    rank: int | None = None
    count: int = 1
    factor: float = 1.0
    times: int = 1
    sample: int | None = None
    during: During | None = None

    def hits(self, rank: int, world_size: int) -> bool:
        """Whether the fault strikes this worker."""
        if self.rank is not None:
            return rank == self.rank
        match FAULTS[self.name].struck:
            case Struck.ALL:
                return True
            case Struck.LAST:
                return rank == world_size - 1
            case _:
                return rank == 0


def parse_drill(text: str | None) -> tuple[Fault, ...]:
    """Return the faults of a drill string; none for None or an empty one.

    Raises:
        SpecError: unknown fault or key, bad value, or no step.
    """
    return tuple(_parse_fault(part.strip()) for part in (text or "").split(";") if part.strip())


def check_drill(
    faults: Sequence[Fault], *, workers: tuple[int, int], max_steps: int, is_on_cluster: bool
) -> None:
    """Refuse what cannot happen in this run.

    Args:
        faults: what `parse_drill` returned.
        workers: least and greatest number of workers; (0, 0) is the driver's own process.
        max_steps: the last step of the run.
        is_on_cluster: whether the run goes to a cluster, which may have more than one node.

    Raises:
        SpecError: the first fault that can never strike, or would strike something else.
    """
    for fault in faults:
        where = f"drill '{fault.name}@step={fault.step}'"
        if fault.step > max_steps:
            raise SpecError(f"{where}: the run ends at train.max_steps={max_steps}")
        if fault.rank is not None and fault.rank >= max(1, workers[1]):
            raise SpecError(
                f"{where}: there is no rank={fault.rank} with WORKERS={_range(workers)}; "
                "ranks count from 0"
            )
        if workers == (0, 0) and FAULTS[fault.name].ends_process:
            raise SpecError(
                f"{where}: with WORKERS=0 the worker, the watchdog and the driver are one "
                "process, and nothing would be left to recover it; use WORKERS=1 or more"
            )
        if fault.name == "kill_node" and not is_on_cluster:
            raise SpecError(
                f"{where}: a run on this machine has one node, and the driver would die with it; "
                "use ADDRESS= of a cluster, or kill@... for the worker alone"
            )


def _range(workers: tuple[int, int]) -> str:
    low, high = workers
    return str(low) if low == high else f"{low}-{high}"


def _parse_fault(part: str) -> Fault:
    name, _, rest = part.partition("@")
    name = name.strip()
    if name not in FAULTS:
        raise SpecError(f"drill '{part}': unknown fault '{name}'{_nearest(name, FAULTS)}")
    kind = FAULTS[name]
    values: dict[str, Any] = {"count": kind.count or 1, "factor": kind.factor or 1.0}
    given: set[str] = set()
    for item in filter(None, (i.strip() for i in rest.split(","))):
        key, equals, value = (s.strip() for s in item.partition("="))
        if key not in _KEYS:
            raise SpecError(f"drill '{part}': unknown key '{key}'{_nearest(key, _KEYS)}")
        if not equals or not value:
            raise SpecError(f"drill '{part}': '{key}' has no value; write {key}=...")
        if key in given:
            raise SpecError(f"drill '{part}': '{key}' is said twice")
        given.add(key)
        values[key] = _KEYS[key](part, key, value)
    _check_keys(part, name, kind, given)
    if given & {"during", "sample"}:
        values.setdefault("step", 1)
    if "step" not in values:
        raise SpecError(f"drill '{part}': no step; write {name}@step=40")
    if name == "oom" and not 0 < values["factor"] < 1:
        raise SpecError(
            f"drill '{part}': factor={values['factor']:g} must lie between 0 and 1: it is the "
            "share of a worker's samples that still fits into memory"
        )
    if name == "slow" and values["factor"] <= 1:
        raise SpecError(f"drill '{part}': factor={values['factor']:g} must be above 1 to be slow")
    return Fault(name=name, **values)


def _check_keys(part: str, name: str, kind: Kind, given: set[str]) -> None:
    """Refuse the keys that mean nothing to this fault: silence would let one think they did."""
    meaningless = {
        "rank": kind.struck in _NO_RANK,
        "count": kind.count is None,
        "factor": kind.factor is None,
        "during": not kind.is_moment,
        "sample": name != "nan_batch",
    }
    for key in sorted(given):
        if meaningless.get(key, False):
            reason = f" (it strikes {kind.struck})" if key == "rank" else ""
            raise SpecError(f"drill '{part}': {name} has no '{key}'{reason}")
    if "sample" in given and "count" in given:
        raise SpecError(f"drill '{part}': 'sample' names one sample, so 'count' says nothing")


def _whole(least: int) -> Callable[[str, str, str], int]:
    def parse(part: str, key: str, value: str) -> int:
        is_whole = value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS
        if not is_whole or int(value) < least:
            raise SpecError(f"drill '{part}': {key}={value} must be a whole number from {least}")
        return int(value)

    return parse


def _number(part: str, key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise SpecError(f"drill '{part}': {key}={value} is not a number") from None
    if not 0 < number < float("inf"):
        raise SpecError(f"drill '{part}': {key}={value} must be a positive, finite number")
    return number


def _moment(part: str, key: str, value: str) -> During:
    if value not in {moment.value for moment in During}:
        known = {moment.value: moment for moment in During}
        raise SpecError(f"drill '{part}': unknown {key} '{value}'{_nearest(value, known)}")
    return During(value)


_KEYS: Mapping[str, Callable[[str, str, str], Any]] = {
    "step": _whole(1),
    "rank": _whole(0),
    "count": _whole(1),
    "factor": _number,
    "times": _whole(1),
    "sample": _whole(0),
    "during": _moment,
}


def _nearest(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{hint} (known: {', '.join(sorted(known))})"
