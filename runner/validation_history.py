"""What the validations so far say to the job's own schedule and to its early stopping.

Both are functions of the list of validations alone. The list rides in every checkpoint, so that a
rollback takes schedule and patience back with the weights, on all ranks alike. The watchdog's
multiplier on the rate is not part of it: that is composed with the schedule at every step.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from runner.spec import TrainConfig

#: A step and what was measured there; lower is better.
Entry = tuple[int, float]


def measured(metrics: Mapping[str, float], metric: str) -> float:
    """Return the value of a validation, lower is better: its loss, else its metric turned round.

    NaN where it has neither: that is never an improvement.
    """
    if "val_loss" in metrics:
        return float(metrics["val_loss"])
    return -float(metrics.get(metric, math.nan))


def is_better(value: float, best: float, min_improvement_ratio: float) -> bool:
    """Whether a value improves on the best before it by more than the ratio; NaN never does."""
    if not math.isfinite(best):
        return math.isfinite(value)
    return value < best - min_improvement_ratio * abs(best)


def reductions(values: Sequence[float], *, patience: int, min_improvement_ratio: float) -> int:
    """Return how often the rate has been reduced: each time `patience` + 1 were not better.

    Source: PyTorch's ReduceLROnPlateau (mode min, relative threshold, no cooldown); a test holds
    the two together.
    """
    best, waited, count = math.inf, 0, 0
    for value in values:
        if is_better(value, best, min_improvement_ratio):
            best, waited = value, 0
        else:
            waited += 1
        if waited > patience:
            count, waited = count + 1, 0
    return count


def stale(entries: Sequence[Entry], min_improvement_ratio: float) -> tuple[int, Entry | None]:
    """Return how many validations in a row, up to the newest, were not better, and the best."""
    best: Entry | None = None
    waited = 0
    for entry in entries:
        if is_better(entry[1], best[1] if best else math.inf, min_improvement_ratio):
            best, waited = entry, 0
        else:
            waited += 1
    return waited, best


class ValidationHistory:
    """The validations of a run up to its present step, and what follows from them.

    `rate_scale` is the schedule's own factor on the peak rate; `stop_reason` says why the run is
    to end now, None if it is not.
    """

    def __init__(self, train: TrainConfig) -> None:
        self._train = train
        self._entries: tuple[Entry, ...] = ()
        self.rate_scale = 1.0
        self.stop_reason: str | None = None

    @property
    def is_used(self) -> bool:
        """Whether the job asks for anything that depends on validations."""
        by_rate = self._train.schedule == "reduce_on_plateau"
        return by_rate or self._train.early_stopping is not None

    @property
    def last_step(self) -> int | None:
        """Return the step of the newest validation."""
        return self._entries[-1][0] if self._entries else None

    def add(self, step: int, value: float) -> None:
        """Take a validation; one of the same step, or a later one, is superseded."""
        self.load([*(entry for entry in self._entries if entry[0] < step), (step, value)])

    def load(self, entries: Iterable[Sequence[float]]) -> None:
        """Go on from the validations that `state` returned."""
        self._entries = tuple((int(step), float(value)) for step, value in entries)
        reduce = self._train.reduce_on_plateau
        self.rate_scale = reduce.factor ** reductions(
            [value for _, value in self._entries],
            patience=reduce.patience,
            min_improvement_ratio=reduce.min_improvement_ratio,
        )
        self.stop_reason = self._why_stop()

    def state(self) -> list[list[float]]:
        """Return the validations as plain values, for a checkpoint."""
        return [[step, value] for step, value in self._entries]

    def _why_stop(self) -> str | None:
        patience = self._train.early_stopping
        waited, best = stale(self._entries, self._train.reduce_on_plateau.min_improvement_ratio)
        if patience is None or waited < patience:
            return None
        known = "none was finite" if best is None else f"{abs(best[1]):.4g} at step {best[0]}"
        return (
            f"stopped early at step {self._entries[-1][0]}: none of the last {waited} validations "
            f"was better than the best before ({known}); limit is "
            f"train.early_stopping={patience}"
        )
