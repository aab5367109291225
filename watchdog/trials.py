"""Trials of several learning rates from one checkpoint: which one runs, and when each is over.

A state machine written as a table: the run goes back to the checkpoint, trains a few steps at the
next rate, goes back again, until every rate had its turn. The steps, the samples and the random
numbers are the same in each trial, so their losses can be compared step by step.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from watchdog.steps import JudgedStep


class Stage(StrEnum):
    """What the run does for a probe."""

    GOING_BACK = "going_back"
    TRYING = "trying"
    OVER = "over"


TRANSITIONS: Mapping[Stage, frozenset[Stage]] = {
    Stage.GOING_BACK: frozenset({Stage.TRYING, Stage.OVER}),
    Stage.TRYING: frozenset({Stage.GOING_BACK, Stage.OVER}),
    Stage.OVER: frozenset(),
}


@dataclass(slots=True)
class Trial:
    """Losses by step at one multiplier. `steps` were trained; `failure` is empty if it ran well."""

    lr_scale: float
    losses: dict[int, float] = field(default_factory=dict)
    steps: int = 0
    failure: str = ""


class Trials:
    """One probe: the trials of `lr_scales` in turn, each of `steps` steps.

    `base_scale` was in force before; `restored_step` is where every trial starts, None until the
    first one has.
    """

    def __init__(self, base_scale: float, lr_scales: Sequence[float], steps: int) -> None:
        self.base_scale = base_scale
        self.trials = [Trial(lr_scale) for lr_scale in lr_scales]
        self.restored_step: int | None = None
        self.stage = Stage.GOING_BACK
        self._steps = steps
        self._index = 0

    @property
    def current(self) -> Trial:
        """Return the trial that runs, or is about to."""
        return self.trials[self._index]

    @property
    def done(self) -> tuple[Trial, ...]:
        """Return the trials that ran, the current one included once the probe is over."""
        return tuple(self.trials[: self._index + (self.stage is Stage.OVER)])

    def restored(self, step: int) -> bool:
        """Start the current trial; False, and over, if the run went back to another step."""
        if self.restored_step is None:
            self.restored_step = step
        if step != self.restored_step:
            self.current.failure = f"restored step {step}, not {self.restored_step}"
            self._move(Stage.OVER)
            return False
        self._move(Stage.TRYING)
        return True

    def note(self, judged: JudgedStep) -> bool:
        """Take a step of the current trial in; return whether that was its last."""
        trial = self.current
        trial.steps += 1
        if judged.loss is not None and math.isfinite(judged.loss):
            trial.losses[judged.step] = judged.loss
        return trial.steps >= self._steps

    def fail(self, why: str) -> None:
        """Say that the current trial broke down."""
        self.current.failure = why

    def advance(self) -> bool:
        """End the current trial; return whether another one follows."""
        if self._index + 1 >= len(self.trials):
            self._move(Stage.OVER)
            return False
        self._move(Stage.GOING_BACK)
        self._index += 1
        return True

    def _move(self, stage: Stage) -> None:
        if stage in TRANSITIONS[self.stage]:
            self.stage = stage
