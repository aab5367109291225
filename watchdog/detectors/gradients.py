"""Gradient norms that explode: a precursor, which is told and never acted on.

In a real spike the norm ran 0.24, 0.95, 2.4, 15.9, 145, 960 before the loss moved. But norms have
tails of their own: healthy runs show single norms ten times the usual, so several of the newest
must be above all that was usual. What was saved meanwhile is not trusted until it is over.

Source of the defaults: isolated norms of up to 10 times the usual in healthy real logs, x3 over a
whole run; the explosion above passes 10 times the greatest within five steps.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math

from pydantic import Field

from watchdog.findings import Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals


class Config(DetectorConfig):
    """What is an explosion."""

    factor: float = Field(
        8.0, gt=1, description="Times the usual (median) norm that is far too large."
    )
    min_steps: int = Field(
        3, ge=1, le=8, description="Norms among the newest window_steps that must be that large."
    )
    window_steps: int = Field(5, ge=1, le=8, description="Newest norms looked at.")


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the suspicion, from the first of the large norms on; silent where none are told."""
    newest = list(signals.gradients.newest)[-config.window_steps :]
    if len(newest) < config.min_steps or not newest[-1][1] > signals.gradients.floor:
        return None
    usual = signals.gradients.usual()
    if usual is None:
        return None
    limit = max(config.factor * usual[0], usual[1])
    large = [(step, norm) for step, norm in newest if math.isfinite(norm) and norm > limit]
    if len(large) < config.min_steps:
        return None
    return Finding(
        cause=Cause.GRADIENTS,
        level=Level.SUSPECT,
        onset_step=large[0][0],
        value=large[-1][1],
        threshold=limit,
        summary=f"gradient norm {large[-1][1]:.4g} at step {large[-1][0]}, {len(large)} of the "
        f"last {len(newest)} above {limit:.4g}; likely the start of a spike; limit is "
        f"detectors.gradients.factor={config.factor:g} times the usual {usual[0]:.4g}",
    )
