"""The sustainability task: sort photographs of waste into thirty classes.

Runs in: worker; `prepare` in the driver.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from jobs.shared.census import Census, first_few, spread
from jobs.sustainability.catalogue import (
    CLASSES,
    Catalogue,
    Photo,
    Split,
    read_catalogue,
    split_photos,
)
from jobs.sustainability.config import Config
from jobs.sustainability.data import WastePhotos, take_photo_census
from jobs.sustainability.generate import ensure_generated
from jobs.sustainability.model import build_model
from jobs.sustainability.validation import best_constant, score_batch, summarize_batches
from runner.job_facts import DataFiles
from runner.task import Metrics, SampleSource, Task, TaskContext

log = logging.getLogger(__name__)


class SustainabilityTask(Task[Config]):
    """Photographs in, one of thirty classes out; scored by the macro F1."""

    metric = "macro_f1"
    input_key, target_key = "image", "label"

    def __init__(self, config: Config, context: TaskContext) -> None:
        super().__init__(config, context)
        folder = context.data_dir or ensure_generated(config.generated, context.cache_dir)
        photos, self._census = take_photo_census(read_catalogue(folder), config, context.cache_dir)
        self._split = split_photos(photos, config.validation)
        self._held_out = _evenly_spaced(self._split.validation, config.validation.max_photos)
        self._train = WastePhotos(self._split.train, config, is_training=True)
        self._scored = WastePhotos(self._held_out, config, is_training=False)
        self._loss = nn.CrossEntropyLoss(
            weight=self._class_weights(), label_smoothing=config.loss.label_smoothing
        ).to(context.device)

    @classmethod
    def prepare(cls, config: Config, data_dir: Path | None, cache_dir: Path) -> str:
        """Check the folder or generate one; return what will be trained on.

        Every photograph is decoded once.

        Raises:
            DataError: the folder cannot be trained on.
        """
        folder = data_dir or ensure_generated(config.generated, cache_dir)
        catalogue = read_catalogue(folder)
        photos, census = take_photo_census(catalogue, config, cache_dir)
        split = split_photos(photos, config.validation)
        _warn(catalogue, census, config)
        return _sentence(catalogue, census, split, config, is_generated=data_dir is None)

    def train_data(self) -> SampleSource:
        """Return the augmented training photographs."""
        return self._train

    def build_model(self) -> nn.Module:
        """Return the classifier."""
        return build_model(self.config.model)

    def training_step(self, model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the cross entropy; batch: `image` (B, 3, S, S) and `label` (B)."""
        loss: torch.Tensor = self._loss(model(batch["image"]), batch["label"])
        return loss

    def validation_size(self) -> int:
        """Return the number of forward passes over the held-out photographs."""
        return -(-len(self._held_out) // self.config.validation.photos_per_forward)

    def evaluate(self, model: nn.Module, index: int) -> Mapping[str, Any]:
        """Return loss, answers and labels of some held-out photographs."""
        size = self.config.validation.photos_per_forward
        wanted = range(index * size, min(len(self._held_out), (index + 1) * size))
        samples = [self._scored.get(i, np.random.default_rng(0)) for i in wanted]
        device = self.context.device
        image = torch.stack([sample["image"] for sample in samples]).to(device)
        label = torch.tensor([sample["label"] for sample in samples], device=device)
        return score_batch(model, image, label, self._loss)

    def summarize(self, items: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return loss, accuracy, macro F1 and the F1 of each class."""
        return summarize_batches(items)

    def trivial_metrics(self) -> Metrics:
        """Return what always answering the commonest class scores."""
        trained = [photo.label for photo in self._split.train]
        return best_constant([photo.label for photo in self._held_out], trained)

    def data_files(self) -> DataFiles:
        """Return the photographs of both sides and those that cannot be decoded."""
        return DataFiles(
            train=tuple(photo.path for photo in self._split.train),
            validation=tuple(photo.path for photo in self._split.validation),
            unreadable=tuple(Path(bad.name) for bad in self._census.unreadable),
        )

    def class_counts(self) -> Mapping[str, int]:
        """Return the training photographs of each of the thirty classes."""
        found = Counter(photo.label for photo in self._split.train)
        return {name: found[place] for place, name in enumerate(CLASSES)}

    def _class_weights(self) -> torch.Tensor | None:
        if self.config.loss.class_weights == "none":
            return None
        counts = torch.tensor(list(self.class_counts().values()), dtype=torch.float32)
        present = counts > 0
        share = counts.sum() / (present.sum() * counts.clamp(min=1))
        return torch.where(present, share, 0.0)


TASK = SustainabilityTask


def _evenly_spaced(photos: Sequence[Photo], limit: int) -> tuple[Photo, ...]:
    return tuple(photos[int(place)] for place in spread(len(photos), limit))


def _warn(catalogue: Catalogue, census: Census[Path], config: Config) -> None:
    absent = catalogue.absent
    if absent:
        log.warning(
            "%d of %d classes have no photograph in %s: %s; their answers are never trained",
            len(absent),
            len(CLASSES),
            catalogue.folder,
            first_few(absent),
        )
    if census.unreadable:
        limit = config.max_unreadable_ratio
        beyond = census.unreadable_ratio > limit
        log.warning(
            "%s%s",
            census.sentence("photographs"),
            f"; that is {census.unreadable_ratio:.0%}, above task.max_unreadable_ratio={limit:g}, "
            f"a data problem that task.when_too_many=warn lets pass"
            if beyond
            else "",
        )


def _sentence(
    catalogue: Catalogue, census: Census[Path], split: Split, config: Config, *, is_generated: bool
) -> str:
    count = len(census.readable)
    if is_generated:
        cut = config.generated.corrupt_share
        damaged = f", {cut:.0%} of the files cut off ON PURPOSE" if cut else ""
        start = (
            f"no data folder given: training on {count} GENERATED drawings of waste{damaged}, "
            f"written to {catalogue.folder}"
        )
    else:
        start = f"data: {catalogue.folder}, {count} photographs"
    present = len(CLASSES) - len(catalogue.absent)
    passed_over = f"; {census.sentence('photographs')}" if census.unreadable else ""
    return (
        f"{start} of {present} of {len(CLASSES)} classes; {len(split.train)} train, "
        f"{len(split.validation)} held out{passed_over}"
    )
