"""The orion task: multiplexed fluorescence from H&E of the same field of view.

Runs in: worker; `prepare` in the driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from jobs.orion.catalogue import Core, find_cores, read_core
from jobs.orion.config import DIVISOR, Config
from jobs.orion.data import Crops, core_reader, middle
from jobs.orion.generate import ensure_generated
from jobs.orion.losses import total, weighted_terms
from jobs.orion.metrics import correlation, psnr
from jobs.orion.model import StainToMarkers
from jobs.shared.census import Census, spread, take_census
from jobs.shared.pairs import PairAugmentation
from jobs.shared.split import hold_out
from runner.job_facts import DataFiles
from runner.task import Metrics, SampleSource, Task, TaskContext

#: Chosen: cores whose markers are averaged for the constant prediction; more change little.
_TRIVIAL_CORES = 16


class OrionTask(Task[Config]):
    """Crops of training cores in, a U-Net, the middle of held-out cores scored by correlation."""

    metric = "correlation"
    input_key, target_key = "stain", "markers"
    input_range = (-0.5, 1.5)

    def __init__(self, config: Config, context: TaskContext) -> None:
        super().__init__(config, context)
        folder = context.data_dir or ensure_generated(
            config.generated, config.channels, context.cache_dir
        )
        self._train, self._held_out = _split(folder, config)
        chosen = spread(len(self._held_out), config.validation.max_cores)
        self._scored = core_reader([self._held_out[place] for place in chosen], config)

    @classmethod
    def prepare(cls, config: Config, data_dir: Path | None, cache_dir: Path) -> str:
        """Check the folder or generate one; return what will be trained on.

        Raises:
            DataError: the folder cannot be trained on, or too much of it cannot be read.
        """
        folder = data_dir or ensure_generated(config.generated, config.channels, cache_dir)
        train, held_out = _split(folder, config)
        census = core_census((*train, *held_out), config)
        census.require_readable(
            max_unreadable_ratio=config.max_unreadable,
            noun="cores",
            setting="task.max_unreadable",
        )
        if data_dir is None:
            where = f"no data folder given: training on GENERATED tissue, written to {folder}"
        else:
            where = f"data: {folder}"
        return (
            f"{where}; {len(train) + len(held_out)} cores, {len(train)} train, {len(held_out)} "
            f"held out; {config.channels} channels; {census.sentence('cores')}"
        )

    def train_data(self) -> SampleSource:
        """Return the crops of the training cores."""
        return Crops(self._train, self.config)

    def build_model(self) -> nn.Module:
        """Return the U-Net."""
        return StainToMarkers(self.config.model, self.config.channels)

    def training_step(self, model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the weighted loss; batch: `stain`, `markers`, both BCHW."""
        return total(self.loss_terms(model, batch))

    def loss_terms(self, model: nn.Module, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Return the weighted terms."""
        return weighted_terms(model(batch["stain"]), batch["markers"], self.config.loss)

    def validation_size(self) -> int:
        """Return the number of held-out cores that are scored."""
        return len(self._scored)

    def evaluate(self, model: nn.Module, index: int) -> Mapping[str, Any]:
        """Return the scores of a held-out core."""
        stain, markers = (image.to(self.context.device) for image in self._pair(index))
        made = model(stain[None])
        return {
            "val_loss": float(total(weighted_terms(made, markers[None], self.config.loss))),
            "correlation": correlation(made[0], markers),
            "psnr": psnr(made[0], markers),
        }

    def trivial_metrics(self) -> Metrics:
        """Return what the channels' means over training cores score; they correlate with nothing.

        The means of the held-out cores would be a constant that nobody can know beforehand.
        """
        means = self._means(self._training_markers())
        targets = [self._pair(index)[1] for index in range(self.validation_size())]
        scores = [psnr(means.expand_as(t), t) for t in targets]
        return {
            "correlation": 0.0,
            "psnr": float(np.mean(scores)),
            "val_loss": self._loss_of(means, targets),
        }

    def trivial_loss(self) -> float:
        """Return the loss of the channels' means over training cores, on those cores."""
        markers = self._training_markers()
        return self._loss_of(self._means(markers), markers)

    def _training_markers(self) -> list[torch.Tensor]:
        reader = core_reader(self._train, self.config)
        places = spread(len(self._train), _TRIVIAL_CORES)
        return [torch.from_numpy(reader.get(int(place)).markers) for place in places]

    def _means(self, markers: Sequence[torch.Tensor]) -> torch.Tensor:
        each = torch.stack([image.mean(dim=(1, 2)) for image in markers])
        return each.mean(dim=0)[:, None, None]

    def _loss_of(self, means: torch.Tensor, markers: Sequence[torch.Tensor]) -> float:
        loss = self.config.loss
        terms = [weighted_terms(means.expand_as(m)[None], m[None], loss) for m in markers]
        return float(np.mean([float(total(term)) for term in terms]))

    def data_files(self) -> DataFiles:
        """Return the H&E file of each core looked at, by side and by whether it can be read."""
        sides = [core_census(side, self.config) for side in (self._train, self._held_out)]
        files = [tuple(core.stain for core in side.readable) for side in sides]
        bad = {bad.name for side in sides for bad in side.unreadable}
        cores = (*self._train, *self._held_out)
        unreadable = tuple(core.stain for core in cores if core.name in bad)
        return DataFiles(train=files[0], validation=files[1], unreadable=unreadable)

    def augment_pair(self, image: Any, target: Any, rng: np.random.Generator) -> Any:
        """Return input and target, both CHW, moved together."""
        return PairAugmentation(self.config.augment)(image, target, rng)

    def _pair(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        core, side = self._scored.get(index), self.config.validation.max_side
        stain, markers = (
            torch.from_numpy(middle(image, side, DIVISOR)) for image in (core.stain, core.markers)
        )
        return stain, markers


TASK = OrionTask


def core_census(cores: tuple[Core, ...], config: Config) -> Census[Core]:
    """Return which of the cores can be read; at most `task.census_cores` are looked at."""
    looked_at = [cores[place] for place in spread(len(cores), config.census_cores)]
    return take_census(looked_at, lambda c: read_core(c, config.channels), lambda c: c.name)


def _split(folder: Path, config: Config) -> tuple[tuple[Core, ...], tuple[Core, ...]]:
    return hold_out(
        find_cores(folder),
        config.validation.share,
        noun="cores",
        setting="task.validation.share",
        folder=folder,
    )
