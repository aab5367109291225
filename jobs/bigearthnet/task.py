"""The bigearthnet task: Sentinel-2's 10 m bands from what a coarser sensor sees.

Runs in: worker; `prepare` in the driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from jobs.bigearthnet.catalogue import BANDS_10M, Patch, find_patches, split_patches
from jobs.bigearthnet.config import Config
from jobs.bigearthnet.data import Crops, PatchReader
from jobs.bigearthnet.generate import ensure_generated
from jobs.bigearthnet.losses import adversarial_term, discriminator_term, pixel_terms, total
from jobs.bigearthnet.metrics import best_constant, psnr_and_ssim
from jobs.bigearthnet.model import Discriminator, Generator, Judged, SuperResolution, bicubic
from jobs.bigearthnet.patches import Pair, input_bands, read_pair
from jobs.shared.census import Census, spread, take_census
from jobs.shared.pairs import PairAugmentation
from runner.job_facts import DataFiles
from runner.task import Metrics, SampleSource, Task, TaskContext

#: Chosen: patches whose pixels make the constant prediction; more change little.
_TRIVIAL_PATCHES = 32


class BigEarthNetTask(Task[Config]):
    """Crops of training patches in, an RRDB generator, whole held-out patches scored by PSNR."""

    metric = "psnr"
    input_key, target_key = "low", "high"

    def __init__(self, config: Config, context: TaskContext) -> None:
        super().__init__(config, context)
        folder = context.data_dir or ensure_generated(config.generated, context.cache_dir)
        self._train, held_out = split_patches(find_patches(folder), config.validation.share, folder)
        chosen = spread(len(held_out), config.validation.max_patches)
        self._held_out = PatchReader([held_out[place] for place in chosen], config)
        self._files = self._train, held_out
        self._step = 0

    @classmethod
    def prepare(cls, config: Config, data_dir: Path | None, cache_dir: Path) -> str:
        """Check the folder or generate one; return what will be trained on.

        Raises:
            DataError: the folder cannot be trained on, or too much of it cannot be read.
        """
        folder = data_dir or ensure_generated(config.generated, cache_dir)
        patches = find_patches(folder)
        train, held_out = split_patches(patches, config.validation.share, folder)
        census = patch_census(patches, config)
        if config.unreadable == "next":
            census.require_readable(
                max_unreadable_ratio=config.max_unreadable,
                noun="patches",
                setting="task.max_unreadable",
            )
        if data_dir is None:
            where = f"no data folder given: training on GENERATED landscapes, written to {folder}"
        else:
            where = f"data: {folder}"
        return (
            f"{where}; {len(patches)} patches, {len(train)} train, {len(held_out)} held out; "
            f"x{config.scale} from averaged 10 m bands; {_said(census, config)}"
        )

    def train_data(self) -> SampleSource:
        """Return the crops of the training patches."""
        return Crops(self._train, self.config)

    def build_model(self) -> nn.Module:
        """Return the generator, with a discriminator where there is a second stage."""
        config = self.config
        bands = len(BANDS_10M)
        generator = Generator(
            config.model, inputs=input_bands(config), outputs=bands, scale=config.scale
        )
        if config.adversarial_from_step is None:
            return SuperResolution(generator, None)
        features = config.model.discriminator_features
        return SuperResolution(generator, Discriminator(features, bands))

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return one AdamW with a group for each of the two; the loop keeps their ratio."""
        train = self.context.train
        assert isinstance(model, SuperResolution), "build_model's"
        groups: list[dict[str, Any]] = [{"params": list(model.generator.parameters())}]
        if model.discriminator is not None:
            rate = train.lr * self.config.loss.discriminator_rate
            groups.append({"params": list(model.discriminator.parameters()), "lr": rate})
        return torch.optim.AdamW(groups, lr=train.lr, weight_decay=train.weight_decay, fused=True)

    def begin_step(self, step: int) -> None:
        """Note the step, which decides the stage."""
        self._step = step

    def training_step(self, model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the generator's loss, with the discriminator's gradient; batch: `low`, `high`."""
        return total(self._terms(model, batch))

    def loss_terms(self, model: nn.Module, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Return the weighted terms of the generator in this step's stage."""
        terms = self._terms(model, batch)
        return {name: term for name, term in terms.items() if name != "discriminator"}

    def _terms(self, model: nn.Module, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        out, loss = model(batch["low"], batch["high"]), self.config.loss
        if isinstance(out, torch.Tensor):
            return pixel_terms(out, batch["high"], loss)
        judged = Judged(*out)
        terms = pixel_terms(judged.made, batch["high"], loss)
        if self.is_adversarial:
            terms["adversarial"] = adversarial_term(judged, loss)
        return {**terms, "discriminator": discriminator_term(judged, loss)}

    @property
    def is_adversarial(self) -> bool:
        """Whether the generator hears the discriminator at this step: stage 2."""
        start = self.config.adversarial_from_step
        return start is not None and self._step >= start

    def validation_size(self) -> int:
        """Return the number of held-out patches that are scored."""
        return len(self._held_out)

    def evaluate(self, model: nn.Module, index: int) -> Mapping[str, Any]:
        """Return the scores of a held-out patch, and those of plain bicubic enlargement."""
        pair = self._pair(index)
        low, high = (
            torch.from_numpy(a)[None].to(self.context.device) for a in (pair.low, pair.high)
        )
        made = model(low)
        psnr, ssim = psnr_and_ssim(made, high)
        plain, _ = psnr_and_ssim(bicubic(low, len(BANDS_10M), self.config.scale), high)
        loss = float(total(pixel_terms(made, high, self.config.loss)))
        return {"val_loss": loss, "psnr": psnr, "ssim": ssim, "gain_over_bicubic_db": psnr - plain}

    def trivial_metrics(self) -> Metrics:
        """Return what one constant for each band scores on the held-out patches."""
        targets = [torch.from_numpy(self._pair(i).high) for i in range(self.validation_size())]
        by_mean = best_constant(targets, median=False)
        scores = [psnr_and_ssim(by_mean.expand(1, *t.shape), t[None]) for t in targets]
        psnr, ssim = (float(score) for score in np.mean(scores, axis=0))
        return {"psnr": psnr, "ssim": ssim, "val_loss": self._loss_of_constant(targets)}

    def trivial_loss(self) -> float:
        """Return the loss of one constant for each band, over training patches."""
        reader = PatchReader(self._train, self.config)
        places = spread(len(reader), _TRIVIAL_PATCHES)
        pairs = [reader.get(int(place), np.random.default_rng(int(place))) for place in places]
        return self._loss_of_constant([torch.from_numpy(pair.high) for pair in pairs])

    def _loss_of_constant(self, targets: Sequence[torch.Tensor]) -> float:
        loss = self.config.loss
        constant = best_constant(targets, median=loss.l1 >= loss.mse)
        terms = [pixel_terms(constant.expand(1, *t.shape), t[None], loss) for t in targets]
        return float(np.mean([float(total(term)) for term in terms]))

    def data_files(self) -> DataFiles:
        """Return the blue band of each patch looked at, by side and by whether it can be read."""
        sides = [patch_census(side, self.config) for side in self._files]
        blue = [tuple(patch.band("B02") for patch in side.readable) for side in sides]
        bad = {bad.name for side in sides for bad in side.unreadable}
        both = (*self._files[0], *self._files[1])
        unreadable = tuple(patch.band("B02") for patch in both if patch.name in bad)
        return DataFiles(train=blue[0], validation=blue[1], unreadable=unreadable)

    def augment_pair(self, image: Any, target: Any, rng: np.random.Generator) -> Any:
        """Return input and target, both CHW, moved together."""
        return PairAugmentation(self.config.augment)(image, target, rng)

    def _pair(self, index: int) -> Pair:
        return self._held_out.get(index, np.random.default_rng(index))


TASK = BigEarthNetTask


def patch_census(patches: tuple[Patch, ...], config: Config) -> Census[Patch]:
    """Return which of the patches can be read; at most `task.census_patches` are looked at."""
    looked_at = [patches[place] for place in spread(len(patches), config.census_patches)]
    return take_census(looked_at, lambda p: read_pair(p, config), lambda p: p.name)


def _said(census: Census[Patch], config: Config) -> str:
    if not census.unreadable or config.unreadable == "next":
        return census.sentence("patches")
    return (
        f"{len(census.unreadable)} of {census.total} patches looked at cannot be read and are "
        f"REPLACED BY RANDOM NUMBERS (task.unreadable=noise): nothing can be learned from them; "
        f"first {census.unreadable[0]}"
    )
