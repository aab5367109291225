"""The vesuvius task: find the papyrus surface in 3-D scroll CT.

Runs in: worker; `prepare` in the driver.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from jobs.vesuvius.augment import Augmentation
from jobs.vesuvius.catalogue import TABLE, Catalogue, read_catalogue
from jobs.vesuvius.config import Config
from jobs.vesuvius.data import SurfacePatches, as_trained
from jobs.vesuvius.generate import TEST_IMAGES, ensure_generated
from jobs.vesuvius.losses import SurfaceLoss
from jobs.vesuvius.metrics import best_constant_dice
from jobs.vesuvius.model import build_unet
from jobs.vesuvius.prediction import SUBMISSION, write_predictions
from jobs.vesuvius.split import Split, evenly_spaced, split_volumes
from jobs.vesuvius.validation import Crop, score_crop, validation_crop
from jobs.vesuvius.volumes import BACKGROUND, SURFACE, UNLABELLED, load_volume
from runner.job_facts import DataFiles, Labels
from runner.task import Metrics, SampleSource, Task, TaskContext

log = logging.getLogger(__name__)

#: Volumes whose voxels `prepare` decodes; the others are checked when they are first loaded.
DEEP_CHECKS = 3

SCORES = ("val_loss", "dice", "surface_dice", "topo_score", "voi_score", "competition_score")


class VesuviusTask(Task[Config]):
    """Patches of training volumes in, a residual U-Net, whole held-out volumes scored by Dice."""

    metric = "dice"
    input_key, target_key = "image", "label"

    def __init__(self, config: Config, context: TaskContext) -> None:
        super().__init__(config, context)
        folder = context.data_dir or ensure_generated(config.generated, context.cache_dir)
        self._folder = folder
        self._split = split_volumes(
            read_catalogue(folder, config.patch_size).volumes, config.validation
        )
        self._held_out = evenly_spaced(self._split.validation, config.validation.max_volumes)
        self._loss = SurfaceLoss(config.loss)
        self._crops: dict[int, Crop] = {}

    @classmethod
    def prepare(cls, config: Config, data_dir: Path | None, cache_dir: Path) -> str:
        """Check the folder or generate one; return what will be trained on.

        All headers are read and a few volumes decoded.

        Raises:
            DataError: the folder cannot be trained on.
        """
        folder = data_dir or ensure_generated(config.generated, cache_dir)
        catalogue = read_catalogue(folder, config.patch_size)
        split = split_volumes(catalogue.volumes, config.validation)
        for volume in evenly_spaced(catalogue.volumes, DEEP_CHECKS):
            load_volume(volume)
        if catalogue.without_files:
            log.warning(
                "%d rows of %s have no files and are left out, first %s",
                len(catalogue.without_files),
                folder / TABLE,
                catalogue.without_files[0],
            )
        return _sentence(catalogue, split, is_generated=data_dir is None)

    def train_data(self) -> SampleSource:
        """Return the patches of the training volumes."""
        return SurfacePatches(self._split.train, self.config)

    def build_model(self) -> nn.Module:
        """Return the U-Net."""
        return build_unet(self.config.model)

    def training_step(self, model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the weighted loss; batch: `image`, `label`, `distance`, all BCDHW."""
        loss: torch.Tensor = self._loss(model(batch["image"]), batch["label"], batch["distance"])
        return loss

    def validation_size(self) -> int:
        """Return the number of held-out volumes that are scored."""
        return len(self._held_out)

    def evaluate(self, model: nn.Module, index: int) -> Mapping[str, Any]:
        """Return the scores of held-out volume `index`."""
        crop = self._crop(index)
        return score_crop(model, crop, self._loss, self.config, self.context.device)

    def summarize(self, items: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the mean of each score over the volumes where it is defined."""
        found = {n: [i[n] for i in items if i.get(n) is not None] for n in SCORES}
        return {name: float(np.mean(values)) for name, values in found.items() if values}

    def trivial_metrics(self) -> Metrics:
        """Return the Dice of the best constant prediction on the scored crops."""
        crops = [self._crop(index) for index in range(self.validation_size())]
        scores = [best_constant_dice(crop.label[0, 0].numpy()) for crop in crops]
        known = [score for score in scores if score is not None]
        return {"dice": float(np.mean(known))} if known else {}

    def predict(self, model: nn.Module, folder: Path) -> str:
        """Write a mask for each test volume in the competition's layout; see `prediction`."""
        source = self._folder / TEST_IMAGES
        written = write_predictions(model, source, folder, self.config, self.context.device)
        return f"{len(written)} masks of {source} in {folder}, and all of them in {SUBMISSION}"

    def data_files(self) -> DataFiles:
        """Return the image files of both sides; the catalogue refuses unreadable ones."""
        return DataFiles(
            train=tuple(volume.image for volume in self._split.train),
            validation=tuple(volume.image for volume in self._split.validation),
        )

    def labels(self) -> Labels:
        """Return the three label values and what `task.unlabelled` makes of the third."""
        return Labels(
            key="label",
            names={BACKGROUND: "background", SURFACE: "surface", UNLABELLED: "unlabelled"},
            unlabelled=frozenset({UNLABELLED}),
            ignored=frozenset({UNLABELLED}),
            stored=lambda: load_volume(self._split.train[0]).label,
            as_trained=lambda label: as_trained(label, self.config.unlabelled),
        )

    def augment_pair(self, image: Any, target: Any, rng: np.random.Generator) -> Any:
        """Return image and label, both CDHW, moved together."""
        return Augmentation(self.config.augment)(image, target, rng)

    def loss_terms(self, model: nn.Module, batch: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
        """Return the five weighted losses, those of weight 0 left out."""
        terms = self._loss.terms(model(batch["image"]), batch["label"], batch["distance"])
        return {name: getattr(self.config.loss, name) * value for name, value in terms.items()}

    def _crop(self, index: int) -> Crop:
        """Return the scored crop, kept after its first use: validation repeats."""
        if index not in self._crops:
            self._crops[index] = validation_crop(load_volume(self._held_out[index]), self.config)
        return self._crops[index]


TASK = VesuviusTask


def _sentence(catalogue: Catalogue, split: Split, *, is_generated: bool) -> str:
    sizes = sorted({volume.shape for volume in catalogue.volumes}, key=math.prod)
    smallest, largest = (" x ".join(map(str, shape)) for shape in (sizes[0], sizes[-1]))
    size = smallest if smallest == largest else f"{smallest} to {largest}"
    count = len(catalogue.volumes)
    if is_generated:
        start = (
            f"no data folder given: training on GENERATED scroll CT volumes ({count} of {size} "
            f"voxels), written to {catalogue.folder}"
        )
    else:
        start = f"data: {catalogue.folder}, {count} volumes of {size} voxels"
    held = "whole scrolls" if split.by_scroll else "single volumes"
    rows = len(catalogue.without_files)
    left_out = f"; {rows} rows of {TABLE} have no files and are left out" if rows else ""
    return f"{start}; {len(split.train)} train, {len(split.validation)} held out ({held}){left_out}"
