"""Settings of the bigearthnet job: what the `task:` section of its job file may say.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from jobs.shared.pairs import PairAugmentConfig
from runner.job_facts import LossTerm
from runner.spec import Config as Section


class NormaliseConfig(Section):
    """From stored counts to [-1, 1]."""

    method: Literal["percentile", "divide"] = Field(
        "percentile",
        description="percentile: each band of a patch from its own low to its high percentile. "
        "divide: counts over `divisor`, which rebuilds a seed project's failing run: ordinary "
        "ground is left with a few hundredths of the range, snow and cloud saturate.",
    )
    low: float = Field(2.0, ge=0, lt=50, description="Percentile that becomes -1.")
    high: float = Field(98.0, gt=50, le=100, description="Percentile that becomes 1.")
    divisor: float = Field(10_000.0, gt=0, description="Counts that become 1 when dividing.")
    min_target_std: float = Field(
        0.05,
        ge=0,
        description="A patch with a band whose target has a smaller standard deviation, as a share "
        "of the range, is passed over like one that cannot be read: it teaches a constant. "
        "Measured on the real sample: 0.17 and more by percentiles, 0.015 to 0.09 divided by "
        "10000. 0: no check.",
    )


class ModelConfig(Section):
    """The generator: residual-in-residual blocks, small by default so that a step fits a core."""

    features: int = Field(24, ge=4, le=256, description="Features between the blocks.")
    growth: int = Field(12, ge=4, le=128, description="Features each dense convolution adds.")
    rrdb: int = Field(2, ge=1, le=64, description="Residual-in-residual dense blocks.")
    rrfdb: int = Field(
        1, ge=0, le=64, description="Residual-in-residual receptive field dense blocks behind them."
    )
    residual_scale: float = Field(0.2, gt=0, le=1, description="Share of a block that is added.")
    adds_to_bicubic: bool = Field(
        True,
        description="Whether the output is the bicubic enlargement plus the network's correction: "
        "then the first step starts at the bicubic score instead of far below it.",
    )
    discriminator_features: int = Field(
        16, ge=4, le=256, description="Features of the discriminator's first level."
    )


class LossConfig(Section):
    """Stage 1 is pixels alone; from `task.adversarial_from_step` on the discriminator is heard."""

    l1: float = Field(0.8, ge=0, description="Weight of the mean absolute error.")
    mse: float = Field(0.2, ge=0, description="Weight of the mean squared error.")
    adversarial: float = Field(
        1e-3, ge=0, description="Weight of the adversarial loss in stage 2; the pixels keep theirs."
    )
    discriminator: float = Field(
        0.01,
        gt=0,
        description="Weight of the discriminator's own loss. AdamW is blind to it; it keeps its "
        "gradient small beside the generator's, with which it shares train.clip_norm.",
    )
    discriminator_rate: float = Field(
        2.0, gt=0, description="Learning rate of the discriminator, as a multiple of train.lr."
    )

    @model_validator(mode="after")
    def _pixels_count(self) -> LossConfig:
        if not self.l1 + self.mse:
            raise ValueError(
                "both pixel losses are 0 (task.loss), so nothing ties the output to its target; "
                "raise one, for example l1=0.8"
            )
        return self


class ValidationConfig(Section):
    """Which patches are held out."""

    share: float = Field(0.2, gt=0, le=0.5, description="Share of the patches held out.")
    max_patches: int = Field(
        8, ge=1, description="Held-out patches scored, evenly spaced; bounds a validation's cost."
    )


class GeneratedConfig(Section):
    """Made-up landscapes, used where there is no data folder."""

    patches: int = Field(48, ge=4, le=4096, description="Patches, all twelve bands of each.")
    seed: int = Field(0, ge=0, lt=2**31)
    fields: int = Field(28, ge=2, le=400, description="Fields, woods and waters in a patch.")
    brightness: float = Field(
        1.0, gt=0, le=8, description="Factor on all counts; 6 looks like fresh snow."
    )
    noise: float = Field(12.0, ge=0, description="Sensor noise in counts.")


class Config(Section):
    """The `task:` section of a bigearthnet job file."""

    scale: Literal[2, 4] = Field(
        2,
        description="Enlargement. The target is always the measured 10 m bands at 120 px; the "
        "input is their average over 2 or 4 pixels. Nothing is enlarged to make a target.",
    )
    with_20m_bands: bool = Field(
        True,
        description="Whether the six measured 20 m bands (60 px) are part of the input: at x2 as "
        "they are, at x4 averaged over 2 pixels.",
    )
    crop: int = Field(24, ge=8, le=60, description="Side of a training crop in input pixels.")
    crops_per_patch: int = Field(8, ge=1, description="Crops of each patch in an epoch.")
    adversarial_from_step: int | None = Field(
        450,
        ge=1,
        description="First step at which the generator hears the discriminator; null: never, and "
        "no discriminator is built.",
    )
    unreadable: Literal["next", "noise"] = Field(
        "next",
        description="What takes the place of a patch that cannot be read: the next one that can. "
        "noise: random numbers, which rebuilds the seed project's bug.",
    )
    damaged_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the patches taken for unreadable on purpose, to see what comes of "
        "it. The files are not touched.",
    )
    max_unreadable: float = Field(
        0.2, ge=0, lt=1, description="Largest share of unreadable patches that is trained on."
    )
    census_patches: int = Field(
        256, ge=1, description="Patches read before the run to count the unreadable, evenly spaced."
    )
    cache_patches: int = Field(
        4096, ge=0, description="Decoded patches kept by each process, 0.16 MB each."
    )
    normalise: NormaliseConfig = NormaliseConfig()
    augment: PairAugmentConfig = PairAugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    validation: ValidationConfig = ValidationConfig()
    generated: GeneratedConfig = GeneratedConfig()

    def loss_formula(self) -> tuple[LossTerm, ...]:
        """Return the terms with their weights."""
        terms = (
            LossTerm("l1", self.loss.l1, formula="mean |y - t|"),
            LossTerm("mse", self.loss.mse, steepest=4.0, formula="mean (y - t)^2, in [-1, 1]"),
        )
        if self.adversarial_from_step is None:
            return terms
        adversarial = LossTerm("adversarial", self.loss.adversarial, formula="-log D(y)")
        return (*terms, adversarial)

    @model_validator(mode="after")
    def _crop_fits(self) -> Config:
        side = 120 // self.scale
        if self.crop > side:
            raise ValueError(
                f"crop={self.crop} is larger than the input of a patch, {side} px at "
                f"scale={self.scale}; lower task.crop"
            )
        return self
