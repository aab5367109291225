"""One rank that makes the others wait: told, not acted on.

After an all-reduce every rank has taken as long as the slowest, so the step time alone hides who it
was. A rank whose own data takes long, or that takes long where the ranks do not wait for each
other, is a straggler; a rank is compared with the median of all.

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
    min_data_ratio: float = Field(
        0.3,
        gt=0,
        lt=1,
        description="Wait for data beyond that of the other ranks, as a share of a step.",
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
    return _slow_data(signals, signals.ranks.data_s(), usual_s, config)


def _slow_data(
    signals: Signals, data_s: Mapping[int, float], usual_s: float, config: Config
) -> Finding | None:
    if len(data_s) < 2:
        return None
    rank = max(data_s, key=data_s.__getitem__)
    limit_s = median(list(data_s.values())) + config.min_data_ratio * usual_s
    if data_s[rank] <= limit_s:
        return None
    ratio = config.min_data_ratio
    return _finding(signals, rank, data_s[rank], limit_s, "its data", "min_data_ratio", ratio)


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
