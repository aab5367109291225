"""Samples whose batch spikes each time it is consumed, and heals each time: known, not alarming.

The order of samples is drawn anew in each epoch, so a batch never comes twice; its samples do. All
samples of a batch that spiked are candidates, and each is cleared by the first batch with it that
passes without a spike. What spiked in two epochs and never passed in between is a hard sample.

A sample is known by its index in the data set, `ordinal % dataset_size`, which outlives epochs,
rollbacks and restarts; without the size nothing is learned.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import Field

from watchdog.settings import Config

#: Chosen: one that healed in r steps before is not called unhealed within four times that.
_PATIENCE_FACTOR = 4


class HardBatchConfig(Config):
    """When a batch is known to be hard, and how much is remembered."""

    min_epochs: int = Field(
        2, ge=2, le=1000, description="Epochs in which a sample's batch must spike and heal."
    )
    max_samples: int = Field(
        8192,
        ge=64,
        le=1_000_000,
        description="Samples remembered; the least telling are forgotten.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HardSample:
    """What is known of a sample: in how many epochs its batch spiked, how far and for how long.

    `worst_excess` is in robust standard deviations over the forecast (None: unknown), `steps` the
    longest it took to heal; `has_rolled_back` says that its batch cost the run a rollback.
    """

    index: int
    epochs: int
    worst_excess: float | None
    steps: int
    has_rolled_back: bool


@dataclass(slots=True)
class _Entry:
    """The same, while it is gathered; `last_epoch` is the newest in which it spiked."""

    epochs: int = 0
    last_epoch: int = -1
    worst_excess: float = -math.inf
    steps: int = 0
    has_rolled_back: bool = False


class HardBatches:
    """The registry of one run. Arguments are sample ordinals; results are indices."""

    def __init__(self, config: HardBatchConfig) -> None:
        self._config = config
        self._entries: dict[int, _Entry] = {}
        self.dataset_size: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered, so that there is nothing to clear."""
        return not self._entries

    def healed(self, ordinals: Iterable[int], excess: float | None, steps: int) -> None:
        """Note a batch that spiked and came back within `steps`."""
        for index, epoch in self._indices(ordinals):
            entry = self._entries.setdefault(index, _Entry())
            if epoch != entry.last_epoch:
                entry.epochs += 1
                entry.last_epoch = epoch
            if excess is not None and math.isfinite(excess):
                entry.worst_excess = max(entry.worst_excess, excess)
            entry.steps = max(entry.steps, steps)
        self._bound()

    def passed(self, ordinals: Iterable[int]) -> None:
        """Clear the samples of a batch whose loss was as forecast."""
        for index, _ in self._indices(ordinals):
            entry = self._entries.get(index)
            if entry is not None and not entry.has_rolled_back:
                del self._entries[index]

    def rolled_back(self, ordinals: Iterable[int]) -> None:
        """Note the samples that a replay leaves out because their batch cost a rollback."""
        for index, epoch in self._indices(ordinals):
            entry = self._entries.setdefault(index, _Entry())
            entry.has_rolled_back = True
            entry.last_epoch = max(entry.last_epoch, epoch)
        self._bound()

    def known(self, ordinals: Iterable[int]) -> tuple[int, ...]:
        """Return the indices of the hard samples among these, sorted."""
        found = {index for index, _ in self._indices(ordinals)}
        return tuple(sorted(i for i in found if self._is_hard(self._entries.get(i))))

    def patience_steps(self, ordinals: Iterable[int]) -> int:
        """Return for how long a spike of these is to be watched: 0 if no hard one is among them."""
        longest = max((self._entries[i].steps for i in self.known(ordinals)), default=0)
        return _PATIENCE_FACTOR * longest

    def listed(self) -> tuple[HardSample, ...]:
        """Return the hard samples and those that cost a rollback, by index."""
        return tuple(
            HardSample(
                index=index,
                epochs=entry.epochs,
                worst_excess=entry.worst_excess if math.isfinite(entry.worst_excess) else None,
                steps=entry.steps,
                has_rolled_back=entry.has_rolled_back,
            )
            for index, entry in sorted(self._entries.items())
            if entry.has_rolled_back or self._is_hard(entry)
        )

    def _is_hard(self, entry: _Entry | None) -> bool:
        return entry is not None and entry.epochs >= self._config.min_epochs

    def _indices(self, ordinals: Iterable[int]) -> Iterable[tuple[int, int]]:
        """Yield (index, epoch) of each ordinal; nothing while the size is unknown."""
        size = self.dataset_size
        if size is None or size < 1:
            return
        for ordinal in ordinals:
            epoch, index = divmod(ordinal, size)
            yield index, epoch

    def _bound(self) -> None:
        """Forget the samples that say least: not rolled back, few epochs, long ago."""
        surplus = len(self._entries) - self._config.max_samples
        if surplus <= 0:
            return
        by_weight = sorted(
            self._entries.items(),
            key=lambda item: (item[1].has_rolled_back, item[1].epochs, item[1].last_epoch),
        )
        for index, _ in by_weight[:surplus]:
            del self._entries[index]
