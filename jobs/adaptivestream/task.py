"""The adaptivestream task: find the pet in a photograph and tell its breed.

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

from jobs.adaptivestream.augment import Augmentation
from jobs.adaptivestream.catalogue import SPECIES, Catalogue, Photo, read_catalogue
from jobs.adaptivestream.config import Config
from jobs.adaptivestream.data import (
    BACKGROUND,
    BORDER,
    IGNORED,
    PET,
    PetPhotos,
    Split,
    as_trained,
    evenly_spaced,
    label_of,
    split_photos,
    take_photo_census,
)
from jobs.adaptivestream.generate import ensure_generated
from jobs.adaptivestream.losses import PetLoss
from jobs.adaptivestream.model import PetNet
from jobs.adaptivestream.validation import best_constants, score_batch, summarize_batches
from jobs.shared.census import Census
from runner.job_facts import DataFiles, Labels
from runner.task import Metrics, SampleSource, Task, TaskContext

log = logging.getLogger(__name__)


class AdaptiveStreamTask(Task[Config]):
    """Photographs in, a mask and a class out; scored by the IoU of the mask."""

    metric = "iou"
    input_key, target_key = "image", "mask"

    def __init__(self, config: Config, context: TaskContext) -> None:
        super().__init__(config, context)
        folder = context.data_dir or ensure_generated(config.generated, context.cache_dir)
        catalogue, self._census = _read(folder, config, context.cache_dir)
        self._split = split_photos(self._census.readable, catalogue.test_names, config.validation)
        held = evenly_spaced(self._split.validation, config.validation.max_photos)
        self._held_out = PetPhotos(held, config, augments=False)
        self._train = PetPhotos(self._split.train, config, augments=True)
        self._loss = PetLoss(config.loss)
        self._unreadable = tuple(
            photo.image
            for photo in catalogue.photos
            if photo.name in {bad.name for bad in self._census.unreadable}
        )

    @classmethod
    def prepare(cls, config: Config, data_dir: Path | None, cache_dir: Path) -> str:
        """Check the folder or generate one; return what will be trained on.

        Every photograph is decoded once.

        Raises:
            DataError: the folder cannot be trained on.
        """
        folder = data_dir or ensure_generated(config.generated, cache_dir)
        catalogue, census = _read(folder, config, cache_dir)
        split = split_photos(census.readable, catalogue.test_names, config.validation)
        for count, what in (
            (len(catalogue.without_image), "rows of the list have no photograph"),
            (len(catalogue.without_row), "photographs have no row in the list"),
        ):
            if count:
                log.warning("%d %s and are left out, in %s", count, what, folder)
        if census.unreadable:
            log.warning("%s", census.sentence("photographs"))
        return _sentence(catalogue, census, split, is_generated=data_dir is None)

    def train_data(self) -> SampleSource:
        """Return the augmented training photographs."""
        return self._train

    def build_model(self) -> nn.Module:
        """Return the network."""
        return PetNet(self.config)

    def training_step(self, model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the weighted loss; batch: `image` (B, 3, S, S), `mask` (B, S, S), `label` (B)."""
        loss: torch.Tensor = self._loss(model(batch["image"]), batch["mask"], batch["label"])
        return loss

    def validation_size(self) -> int:
        """Return the number of forward passes over the held-out photographs."""
        return -(-len(self._held_out) // self.config.validation.photos_per_forward)

    def evaluate(self, model: nn.Module, index: int) -> Mapping[str, Any]:
        """Return the scores of a few held-out photographs."""
        size = self.config.validation.photos_per_forward
        wanted = range(index * size, min(len(self._held_out), (index + 1) * size))
        samples = [self._held_out.get(i, np.random.default_rng(0)) for i in wanted]
        batch = {
            "image": torch.stack([sample["image"] for sample in samples]),
            "mask": torch.stack([sample["mask"] for sample in samples]),
            "label": torch.tensor([sample["label"] for sample in samples]),
        }
        device = self.context.device
        return score_batch(model, {k: t.to(device) for k, t in batch.items()}, self._loss)

    def summarize(self, items: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return loss, IoU and accuracy over all held-out photographs."""
        return summarize_batches(items, self.config.classes)

    def trivial_metrics(self) -> Metrics:
        """Return what constant answers score on the held-out photographs."""
        samples = [
            self._held_out.get(i, np.random.default_rng(0)) for i in range(len(self._held_out))
        ]
        return best_constants(
            [sample["mask"] for sample in samples],
            [sample["label"] for sample in samples],
            [label_of(photo, self.config) for photo in self._split.train],
        )

    def data_files(self) -> DataFiles:
        """Return the photographs of both sides and those that cannot be decoded."""
        return DataFiles(
            train=tuple(photo.image for photo in self._split.train),
            validation=tuple(photo.image for photo in self._split.validation),
            unreadable=self._unreadable,
        )

    def labels(self) -> Labels:
        """Return the trimap's values; the border is nobody's and is ignored."""
        return Labels(
            key="mask",
            names={PET: "pet", BACKGROUND: "background", BORDER: "border"},
            unlabelled=frozenset({BORDER}),
            ignored=frozenset({IGNORED}),
            stored=lambda: self._train.trimap(0),
            as_trained=as_trained,
        )

    def class_counts(self) -> Mapping[str, int]:
        """Return the training photographs of each species, or of each breed in the list."""
        found = Counter(label_of(photo, self.config) for photo in self._split.train)
        if self.config.label == "species":
            return {name: found[place] for place, name in enumerate(SPECIES)}
        names = {photo.breed: photo.name.rpartition("_")[0] for photo in self._census.readable}
        return {names[breed]: found[breed] for breed in sorted(names)}

    def augment_pair(self, image: Any, target: Any, rng: np.random.Generator) -> Any:
        """Return photograph and mask cut, mirrored and brightened together."""
        return Augmentation(self.config.augment)(np.asarray(image), np.asarray(target), rng)

    def loss_terms(self, model: nn.Module, batch: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
        """Return the weighted terms."""
        return self._loss.terms(model(batch["image"]), batch["mask"], batch["label"])


TASK = AdaptiveStreamTask


def _read(folder: Path, config: Config, cache_dir: Path) -> tuple[Catalogue, Census[Photo]]:
    catalogue = read_catalogue(folder)
    census = take_photo_census(catalogue, cache_dir)
    census.require_readable(
        max_unreadable_ratio=config.max_unreadable_ratio,
        noun="photographs",
        setting="task.max_unreadable_ratio",
    )
    return catalogue, census


def _sentence(
    catalogue: Catalogue, census: Census[Photo], split: Split, *, is_generated: bool
) -> str:
    count = len(census.readable)
    start = (
        f"no data folder given: training on {count} GENERATED drawings of pets, written to "
        f"{catalogue.folder}"
        if is_generated
        else f"data: {catalogue.folder}, {count} photographs"
    )
    breeds = len({photo.breed for photo in census.readable})
    how = "official split" if split.is_official else "every n-th of each breed"
    passed_over = f"; {census.sentence('photographs')}" if census.unreadable else ""
    return (
        f"{start} of {breeds} breeds; {len(split.train)} train, {len(split.validation)} held out "
        f"({how}){passed_over}"
    )
