"""The stream of batches of one rank, which can be taken back to any position at once.

With loader processes, batches are prepared ahead; after a `seek` those already on their way are
recognised by their generation and thrown away, so no process is restarted.

Runs in: worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from runner.sampler import GlobalBatch, SampleOrder, sample_rng
from runner.spec import TrainConfig
from runner.state import map_tensors
from runner.task import SampleSource

#: Chosen: longer than any verdict takes (twice 32 steps of patience), small whatever the batch.
_RECENT_BATCHES = 128


@dataclass(frozen=True, slots=True)
class RankBatch:
    """One rank's share of a step.

    `parts` are the micro-batches with the number of samples in each; `ordinals` are this rank's
    samples, `global_ordinals` those of all ranks, `position` is the order's position behind them.
    """

    parts: tuple[tuple[Mapping[str, Any], int], ...]
    ordinals: tuple[int, ...]
    global_ordinals: tuple[int, ...]
    position: int

    @property
    def global_size(self) -> int:
        """Return the number of samples of the step over all ranks."""
        return len(self.global_ordinals)

    @property
    def size(self) -> int:
        """Return the number of this rank's samples."""
        return len(self.ordinals)

    def pin_memory(self) -> RankBatch:
        """Return the batch in page-locked memory; the loader calls it by this name."""
        return self._with_tensors(lambda t: t.pin_memory())

    def to(self, device: torch.device) -> RankBatch:
        """Return the batch on `device`, without waiting for the copy."""
        return self._with_tensors(lambda t: t.to(device, non_blocking=True))

    def _with_tensors(self, function: Callable[[torch.Tensor], Any]) -> RankBatch:
        parts = tuple((map_tensors(function, data), count) for data, count in self.parts)
        return replace(self, parts=parts)


@dataclass(frozen=True, slots=True)
class _Request:
    """What a loader is asked for; `seek` is the generation of the order it belongs to."""

    seek: int
    batch: GlobalBatch
    ordinals: tuple[int, ...]


class _Loading(Dataset[RankBatch]):
    """Turns a request into a batch; a pure function of it, so it runs in any process."""

    def __init__(self, source: SampleSource, seed: int, micro_batch_size: int | None) -> None:
        self._source = source
        self._seed = seed
        self._micro = micro_batch_size

    def __getitem__(self, request: _Request) -> tuple[int, RankBatch]:  # type: ignore[override]
        size = len(self._source)
        ordinals = request.ordinals
        samples = [
            self._source.get(ordinal % size, sample_rng(self._seed, ordinal, size))
            for ordinal in ordinals
        ]
        micro = self._micro or max(1, len(samples))
        parts = tuple(
            (default_collate(samples[i : i + micro]), len(samples[i : i + micro]))
            for i in range(0, len(samples), micro)
        )
        batch = request.batch
        return request.seek, RankBatch(parts, ordinals, batch.ordinals, batch.position)


class BatchStream:
    """An endless stream of `RankBatch`, moved by `seek`."""

    def __init__(
        self,
        source: SampleSource,
        make_order: Callable[[int, Iterable[int]], SampleOrder],
        *,
        rank: int,
        world_size: int,
        seed: int,
        micro_batch_size: int | None = None,
        loader_workers: int = 0,
        prefetch: int = 2,
        device: torch.device | None = None,
    ) -> None:
        self._make_order = make_order
        self._order = make_order(0, ())
        self._rank = rank
        self._world_size = world_size
        self._seek = 0
        self._recent: deque[tuple[int, ...]] = deque(maxlen=_RECENT_BATCHES)
        self._device = device or torch.device("cpu")
        loader = DataLoader(
            _Loading(source, seed, micro_batch_size),
            batch_size=None,
            collate_fn=_as_it_is,  # type: ignore[arg-type]  # there is no batch to collate
            sampler=self._requests(),
            num_workers=loader_workers,
            prefetch_factor=prefetch if loader_workers else None,
            pin_memory=self._device.type == "cuda",
        )
        self._batches: Iterator[tuple[int, RankBatch]] = iter(loader)

    def seek(self, position: int, skip: Iterable[int]) -> None:
        """Go on from `position`, without the samples in `skip`."""
        self._seek += 1
        self._order = self._make_order(position, skip)

    def next(self) -> RankBatch:
        """Return the next batch, on the device."""
        while True:
            seek, batch = next(self._batches)
            if seek == self._seek:
                self._recent.append(batch.global_ordinals)
                return batch if self._device.type == "cpu" else batch.to(self._device)

    def whole_batches(self, ordinals: Iterable[int]) -> frozenset[int]:
        """Return the samples with all others of the recent batches they were in, on every rank.

        The watchdog may have heard of a bad batch from some of its ranks only.
        """
        named = frozenset(ordinals)
        whole = (batch for batch in self._recent if not named.isdisjoint(batch))
        return named.union(*whole)

    def _requests(self) -> Iterator[_Request]:
        while True:
            batch = self._order.next_batch()
            yield _Request(self._seek, batch, batch.share(self._rank, self._world_size))


def micro_batch_size(train: TrainConfig, world_size: int, scale: float) -> int | None:
    """Return the most samples of one forward pass; None: all of a rank's share.

    `scale` is the watchdog's multiplier after running out of memory; one sample is the least.
    """
    if scale >= 1.0:
        return train.micro_batch_size
    share = -(-train.batch_size // world_size)
    return max(1, int(min(share, train.micro_batch_size or share) * scale))


def _as_it_is(item: tuple[int, RankBatch]) -> tuple[int, RankBatch]:
    return item
