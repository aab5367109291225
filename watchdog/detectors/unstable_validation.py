"""Validations that jump about, or are not finite while the training loss is: told, not acted on.

Must not fire on a validation that falls fast at the start, nor on the wobble of a small set: a jump
counts against how far the validations before it lay apart. A drop to almost nothing is as wrong as
a jump.

Unrest throughout, where no single validation stands out, is looked for where the job says how much
is too much. A seed project's losses jumped from 0.4304 to 0.5360 and back.

Source of the defaults: real logs: a single evaluation of 400 times the usual, one of 0.6 % of it,
and losses that are infinite in all epochs; healthy validations swing by a factor of three early on.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from watchdog.baseline import median
from watchdog.findings import Cadence, Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals
from watchdog.trend import curvature_noise, scale

CADENCE = Cadence.BLOCK


class Config(DetectorConfig):
    """Rolling deviation of the validation loss."""

    window_validations: int = Field(
        12, ge=6, le=128, description="Validations before the newest that say what is usual."
    )
    sigmas: float = Field(
        6.0, gt=0, description="Robust standard deviations from their median that are a jump."
    )
    min_jump_ratio: float = Field(
        0.5, gt=0, description="Least jump, as a change of the logarithm, or of the mean size."
    )
    max_unrest_ratio: float | None = Field(
        None,
        gt=0,
        description="Spread of the validations about their trend, over a window, that is unrest "
        "rather than the wobble of the set, as a share of the loss; null: not looked at, because "
        "how much a set wobbles is the job's to know.",
    )
    hold_validations: int = Field(
        12, ge=1, le=64, description="Validations that must be calm until it is over."
    )
    min_nonfinite: int = Field(
        3, ge=1, le=64, description="Newest validations in a row that are not finite."
    )


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the suspicion, and go on returning it while one of the newest has jumped."""
    checks = [(v.step, v.loss) for v in signals.validations if v.loss is not None]
    broken = checks[-config.min_nonfinite :]
    if len(broken) == config.min_nonfinite and not any(math.isfinite(x) for _, x in broken):
        return _finding(
            broken[0][0],
            broken[-1][1],
            f"the last {len(broken)} validation losses are not finite, while training is; likely "
            f"the validation itself; limit is "
            f"detectors.unstable_validation.min_nonfinite={config.min_nonfinite}",
        )
    known = [(step, loss) for step, loss in checks if math.isfinite(loss)]
    restless = _unrest(known, config)
    if restless is not None:
        return restless
    for back in range(config.hold_validations, 0, -1):
        end = len(known) - back
        if end < config.window_validations:
            continue
        jump = _jump([x for _, x in known[end - config.window_validations : end + 1]], config)
        if jump is not None:
            step, loss = known[end]
            return _finding(
                step,
                loss,
                f"validation loss {loss:.4g} at step {step} lies {jump:.1f} robust standard "
                f"deviations from the {config.window_validations} before; likely a set too small "
                f"or a model on the edge; limit is "
                f"detectors.unstable_validation.sigmas={config.sigmas:g}",
            )
    return None


def _unrest(known: Sequence[tuple[int, float]], config: Config) -> Finding | None:
    """Return the finding that the newest window is restless throughout; no single one stands out.

    The spread is that of the second differences, so that neither a fall nor its flattening count.
    """
    window = known[-config.window_validations :]
    if config.max_unrest_ratio is None or len(window) < config.window_validations:
        return None
    spread = curvature_noise(scale([loss for _, loss in window]))
    if spread <= config.max_unrest_ratio:
        return None
    low, high = (pick(loss for _, loss in window) for pick in (min, max))
    return _finding(
        window[0][0],
        window[-1][1],
        f"validation loss jumps between {low:.4g} and {high:.4g}: {spread:.1%} about its trend in "
        f"the last {len(window)}; likely too high a rate or a loss term that throws the others "
        f"about; limit is "
        f"detectors.unstable_validation.max_unrest_ratio={config.max_unrest_ratio:g}",
    )


def _jump(values: Sequence[float], config: Config) -> float | None:
    """Return by how many deviations the last value is off, None if it is not."""
    *before, last = scale(values)
    middle = median(before)
    spread = 1.4826 * median([abs(value - middle) for value in before])
    off = abs(last - middle)
    if off < max(config.min_jump_ratio, config.sigmas * spread):
        return None
    return off / spread if spread > 0 else math.inf


def _finding(onset_step: int, value: float, summary: str) -> Finding:
    return Finding(
        cause=Cause.UNSTABLE_VALIDATION,
        level=Level.SUSPECT,
        onset_step=onset_step,
        value=value,
        threshold=None,
        summary=summary,
    )
