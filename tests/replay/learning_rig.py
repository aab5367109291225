"""A run in miniature whose loss depends on its learning rate, and goes back with a checkpoint.

`speed` maps the multiplier in force to the fall of the log loss a step. The noise of a step is that
of its batch, the same in every generation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.replay.rig import Rig
from watchdog.records import Storage, Verdict


@dataclass
class LearningRig(Rig):
    """`level` is the log loss without noise; `kept` what the checkpoints hold of it."""

    speed: Callable[[float], float] = lambda scale: 0.0
    noise: float = 0.01
    level: float = math.log(2.0)
    kept: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.loss_at = self._learn

    def _learn(self, generation: int, step: int) -> float:
        scale = self.core.history().lr_scale
        self.level -= self.speed(scale)
        return math.exp(self.level + random.Random(step).gauss(0, self.noise))

    def _save(self, storage: Storage) -> list[Verdict]:
        self.kept[self.step] = self.level
        return super()._save(storage)

    def _roll_back(self, verdict: Verdict) -> None:
        super()._roll_back(verdict)
        self.level = self.kept[self.step]
