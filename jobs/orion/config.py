"""Settings of the orion job: what the `task:` section of its job file may say.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from jobs.shared.pairs import PairAugmentConfig
from runner.job_facts import LossTerm
from runner.spec import Config as Section

#: What a side must be a multiple of: the U-Net halves it four times.
DIVISOR = 16


class ModelConfig(Section):
    """A U-Net of five levels (MONAI's BasicUNet)."""

    base_features: int = Field(
        16, ge=4, le=256, description="Features of the first level; the deepest has eight times."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout inside the blocks.")


class LossConfig(Section):
    """Weights of the terms: the seed project's repaired ones."""

    mse: float = Field(0.8, ge=0, description="Weight of the mean squared error.")
    l1: float = Field(0.3, ge=0, description="Weight of the mean absolute error.")
    boundary: float = Field(
        0.1, ge=0, description="Weight of the absolute error between the slopes of both images."
    )
    variance: float = Field(
        0.1, ge=0, description="Weight of the penalty on channels predicted as a flat grey."
    )
    variance_form: Literal["target", "exponential"] = Field(
        "target",
        description="target: (t - var)^2 where a channel's variance is below t. exponential: "
        "exp(-100 var), the seed project's first one: its slope is -100 where variance is 0, and "
        "it never ends.",
    )
    variance_target: float = Field(
        0.01, gt=0, le=0.25, description="Variance of a channel that is enough."
    )
    focal: float = Field(
        0.0, ge=0, description="Weight of the focal absolute error, which favours large errors."
    )
    focal_beta: float = Field(
        4.0, gt=0, description="How soon an error counts as large: (2 sigmoid(beta |e|) - 1)^gamma."
    )
    focal_gamma: float = Field(1.0, ge=0, description="How much large errors are favoured.")

    @model_validator(mode="after")
    def _something_is_fitted(self) -> LossConfig:
        if not self.mse + self.l1 + self.focal:
            raise ValueError(
                "mse, l1 and focal are all 0 (task.loss), so nothing ties the output to its "
                "target; raise one, for example mse=0.8"
            )
        return self


class ValidationConfig(Section):
    """Which cores are held out and how much of each is scored."""

    share: float = Field(0.2, gt=0, le=0.5, description="Share of the cores held out.")
    max_cores: int = Field(
        8, ge=1, description="Held-out cores scored, evenly spaced; bounds a validation's cost."
    )
    max_side: int = Field(
        224, ge=DIVISOR, description="Side in pixels of the scored middle of a core."
    )


class GeneratedConfig(Section):
    """Made-up tissue, used where there is no data folder; sizes are those of the estimates."""

    cores: int = Field(10, ge=3, le=4096, description="Pairs of H&E and fluorescence.")
    side: int = Field(224, ge=64, le=2048, description="Side of a core in pixels.")
    seed: int = Field(0, ge=0, lt=2**31)
    cells: int = Field(
        320, ge=10, description="Cells in a core of 224 pixels; in proportion to the area else."
    )
    types: int = Field(5, ge=1, le=32, description="Cell types, neighbours being mostly alike.")
    least_radius: float = Field(4.0, gt=1, description="Least radius of a nucleus in pixels.")
    greatest_radius: float = Field(8.0, gt=1, description="Greatest radius of a nucleus.")
    photons: float = Field(60.0, gt=0, description="Photons at full brightness; noise is Poisson.")


class Config(Section):
    """The `task:` section of an orion job file."""

    channels: int = Field(
        20, ge=1, le=64, description="Fluorescence channels of the set: 19 and 20 are met."
    )
    crop: int = Field(64, ge=DIVISOR, description="Side of a training crop in pixels.")
    crops_per_core: int = Field(32, ge=1, description="Crops of each core in an epoch.")
    max_unreadable: float = Field(
        0.2, ge=0, lt=1, description="Largest share of unreadable cores that is trained on."
    )
    census_cores: int = Field(
        256, ge=1, description="Cores read before the run to count the unreadable, evenly spaced."
    )
    cache_cores: int = Field(
        512, ge=0, description="Decoded cores kept by each process; one of 224 px takes 1.2 MB."
    )
    augment: PairAugmentConfig = PairAugmentConfig(
        intensity_probability=0.3, gain=0.05, shift=0.02, noise=0.02
    )
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    validation: ValidationConfig = ValidationConfig()
    generated: GeneratedConfig = GeneratedConfig()

    def loss_formula(self) -> tuple[LossTerm, ...]:
        """Return the terms with their weights."""
        loss = self.loss
        is_exponential = loss.variance_form == "exponential"
        return (
            LossTerm("mse", loss.mse, steepest=2.0, formula="mean (y - t)^2, both in [0, 1]"),
            LossTerm("l1", loss.l1, formula="mean |y - t|"),
            LossTerm("boundary", loss.boundary, formula="mean |slope y - slope t|"),
            LossTerm(
                "variance",
                loss.variance,
                steepest=100.0 if is_exponential else 2 * loss.variance_target,
                formula="exp(-100 var)" if is_exponential else "max(0, t - var)^2",
            ),
            LossTerm("focal", loss.focal, formula="(2 sigmoid(beta |e|) - 1)^gamma |e|"),
        )

    @model_validator(mode="after")
    def _sides_can_be_halved(self) -> Config:
        for name, side in (("crop", self.crop), ("validation.max_side", self.validation.max_side)):
            if side % DIVISOR:
                raise ValueError(
                    f"{name}={side} is not a multiple of {DIVISOR}, which the U-Net's four "
                    f"halvings need; change task.{name}"
                )
        return self
