"""Restores a state that all ranks can read, and makes sure that they have restored the same.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner.agreement import Council
from runner.course import Course
from runner.learner import Learner
from runner.recovery import RestorePoint
from runner.vault import Vault
from watchdog.errors import RollbackFailed
from watchdog.records import Storage


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

    def roll_back(self, points: Sequence[RestorePoint]) -> RestorePoint:
        """Restore the best point that all ranks can read, in place; return it.

        Raises:
            RollbackFailed: no point is readable, or the ranks restored different weights.
        """
        for point in points:
            if self._restore(point):
                self._require_same(point)
                return point
        tried = ", ".join(f"{point.step} ({point.storage})" for point in points)
        raise RollbackFailed(f"every checkpoint that was tried is unreadable: steps {tried}")

    def _require_same(self, point: RestorePoint) -> None:
        """Compare step, generation and the norm of all weights, to the last bit, over the ranks."""
        found = self._council.gather((self._restored, self._learner.weights_norm()))
        if any(one != found[0] for one in found):
            raise RollbackFailed(
                f"the ranks restored different states for step {point.step} "
                f"from {point.storage}: {found}"
            )

    def saved_models(self, count: int) -> list[Mapping[str, Any]]:
        """Return the model states of the newest sound durable checkpoints that all ranks can read.

        The newest first, at most `count`, without that of the present step.
        """
        self._vault.drain()
        known = {
            step for steps in self._council.gather(self._vault.sound_steps()) for step in steps
        }
        states: list[Mapping[str, Any]] = []
        for step in sorted(known - {self._course.step}, reverse=True):
            if len(states) == count:
                break
            loaded = self._vault.load(RestorePoint(step, Storage.DURABLE))
            if all(self._council.gather(loaded is not None)) and loaded is not None:
                states.append(loaded[0]["model"])
        return states

    def _restore(self, point: RestorePoint) -> bool:
        loaded = None
        if point.storage is Storage.MEMORY and not self._vault.writes_parts:
            # A rank that is new gets it from one that is not; a part nobody else has.
            loaded = self._council.share(self._vault.recall(point.step))
        if loaded is None:
            loaded = self._vault.load(point)
        found = self._council.gather(None if loaded is None else loaded[1])
        if loaded is None or any(info != found[0] for info in found):
            return False
        tree, info = loaded
        self._learner.load(tree)
        self._course.go_back(info)
        self._restored = info
        return True
