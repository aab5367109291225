"""Restores a state that all ranks can read, and makes sure that they have restored the same.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Iterable

from runner.agreement import Council
from runner.course import Course
from runner.learner import Learner
from runner.recovery import RestorePoint
from runner.vault import Vault
from watchdog.errors import RollbackFailed


class Restorer:
    """Puts learner and course where a checkpoint was taken."""

    def __init__(self, vault: Vault, council: Council, learner: Learner, course: Course) -> None:
        self._vault = vault
        self._council = council
        self._learner = learner
        self._course = course

    def first_readable(self, points: Iterable[RestorePoint]) -> RestorePoint:
        """Restore the best point that all ranks can read; the untrained model is the last."""
        for point in points:
            if point.storage is None:
                return point
            if self._restore(point):
                return point
        return RestorePoint(0, None)

    def roll_back_to(self, point: RestorePoint) -> None:
        """Restore `point` in place.

        Raises:
            RollbackFailed: a rank cannot read it, or the ranks restored different weights.
        """
        if not self._restore(point):
            raise RollbackFailed(
                f"the {point.storage} checkpoint of step {point.step} is unreadable"
            )
        norms = self._council.gather(self._learner.weights_norm())
        if any(norm != norms[0] for norm in norms):
            raise RollbackFailed(
                f"the ranks restored different weights for step {point.step} "
                f"from {point.storage} (norms {norms})"
            )

    def _restore(self, point: RestorePoint) -> bool:
        loaded = self._vault.load(point)
        if not all(self._council.gather(loaded is not None)) or loaded is None:
            return False
        tree, info = loaded
        self._learner.load(tree)
        self._course.go_back(info)
        return True
