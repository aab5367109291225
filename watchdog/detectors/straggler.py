"""One rank that makes the others wait: told, not acted on.

After an all-reduce every rank has taken as long as the slowest, so the step time alone hides who it
was. A rank that takes long before it comes to wait for the others (for its data, or for data and
forward pass), or where the ranks do not wait for each other, is a straggler. It is compared with
the median of all for a step, with that of the others for a part of one. On a GPU the forward pass
is only launched before the wait, so there a slow device shows in its data and its step alone.

The defaults are chosen, not measured: half as long again is beyond the jitter of a healthy machine.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from watchdog.baseline import median
from watchdog.findings import Cadence, Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals

CADENCE = Cadence.BLOCK


class Config(DetectorConfig):
    """How much slower than the others."""

    factor: float = Field(
        1.5, gt=1, description="Times the median step time of the ranks that is a straggler."
    )
    min_part_ratio: float = Field(
        0.3,
        gt=0,
        lt=1,
        description="Time for data, or for data and forward pass, beyond that of the other ranks, "
        "as a share of a step.",
    )


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the slowest rank if it is a straggler; needs two ranks at least."""
    step_s = signals.ranks.step_s()
    if len(step_s) < 2:
        return None
    usual_s = median(list(step_s.values()))
    if usual_s <= 0:
        return None
    rank = max(step_s, key=step_s.__getitem__)
    if step_s[rank] > config.factor * usual_s:
        return _finding(
            signals, rank, step_s[rank], config.factor * usual_s, "a step", "factor", config.factor
        )
    for part_s, what in (
        (signals.ranks.data_s(), "its data"),
        (signals.ranks.own_s(), "data and forward pass, before it waits for the others,"),
    ):
        found = _slow_part(signals, part_s, what, usual_s, config)
        if found is not None:
            return found
    return None


def _slow_part(
    signals: Signals, part_s: Mapping[int, float], what: str, usual_s: float, config: Config
) -> Finding | None:
    """Return the rank that takes longer for a part of a step than the median of the others."""
    if len(part_s) < 2:
        return None
    rank = max(part_s, key=part_s.__getitem__)
    others_s = median([seconds for other, seconds in part_s.items() if other != rank])
    limit_s = others_s + config.min_part_ratio * usual_s
    if part_s[rank] <= limit_s:
        return None
    ratio = config.min_part_ratio
    return _finding(signals, rank, part_s[rank], limit_s, what, "min_part_ratio", ratio)


def _finding(
    signals: Signals, rank: int, value_s: float, limit_s: float, what: str, name: str, knob: float
) -> Finding:
    step = signals.latest.step if signals.latest is not None else 0
    return Finding(
        cause=Cause.STRAGGLER,
        level=Level.SUSPECT,
        onset_step=step,
        value=value_s,
        threshold=limit_s,
        summary=f"rank {rank} takes {value_s:.3g} s for {what} around step {step}, more than "
        f"{limit_s:.3g} s; likely a slow disk, a busy or throttled machine; limit is "
        f"detectors.straggler.{name}={knob:g}",
    )
