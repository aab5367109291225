"""Settings of the vesuvius job: what the `task:` section of its job file may say.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from runner.job_facts import LossTerm
from runner.spec import Config as Section

#: YAML has no tuples: a list is taken for one, its elements stay strict.
Channels = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=2)]


class AugmentConfig(Section):
    """What is done to a training patch; the defaults are mild, sheets keep their look."""

    flip: bool = Field(True, description="Mirror each axis with probability 1/2.")
    rotate90: bool = Field(
        True,
        description="Quarter turns in all three planes. With the flips these are the 48 symmetries "
        "of the cube; the voxels are isotropic, so each is as likely in a scroll.",
    )
    intensity_probability: float = Field(
        0.3, ge=0, le=1, description="Probability of each of the intensity changes below."
    )
    scale: float = Field(0.2, ge=0, lt=1, description="Contrast times 1 +- this.")
    shift: float = Field(
        0.2, ge=0, description="Brightness +- this, in standard deviations of the volume."
    )
    gamma: float = Field(
        0.3, ge=0, lt=1, description="Gamma from 1 - this to 1 + this; scanners differ in response."
    )
    noise: float = Field(
        0.15, ge=0, description="Largest Gaussian noise, in standard deviations of the volume."
    )


class ModelConfig(Section):
    """A residual U-Net; small by default, so that a step fits a CPU core."""

    channels: Channels = Field(
        (16, 32, 64),
        description="Features of each level; each works at half the side of the one before, the "
        "first at half the patch's. Measured on the microscopy sample after 800 steps: Dice 0.75 "
        "against 0.71 with a first level at full resolution, which takes twice the time.",
    )
    residual_units: int = Field(2, ge=0, le=8, description="Convolutions in each residual block.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout inside the blocks.")

    @property
    def divisor(self) -> int:
        """Return the number of voxels that a patch side must be a multiple of."""
        return int(2 ** (len(self.channels) - 1))


class LossConfig(Section):
    """Weights of the five terms (the seed project's repaired ones) and their parameters."""

    dice: float = Field(0.3, ge=0, description="Weight of the soft Dice loss.")
    focal: float = Field(0.4, ge=0, description="Weight of the focal loss.")
    boundary: float = Field(0.15, ge=0, description="Weight of the boundary loss.")
    cldice: float = Field(0.1, ge=0, description="Weight of the soft skeleton (clDice) loss.")
    connectivity: float = Field(0.05, ge=0, description="Weight of the connectivity loss.")
    focal_gamma: float = Field(2.0, ge=0, description="Focusing; 0 is plain cross entropy.")
    focal_alpha: float | None = Field(
        0.34, ge=0, le=1, description="Weight of surface voxels, background has 1 - this; null: 1."
    )
    class_weights: dict[Literal["background", "surface"], float] | None = Field(
        None,
        description="Factors on the focal loss of each class. The seed project had background "
        "1.94, surface 0.52, chosen while unlabelled voxels counted as surface; null: 1 and 1.",
    )
    skeleton_iterations: int = Field(
        1,
        ge=0,
        le=20,
        description="Soft erosions of the clDice skeleton; half the sheet thickness in voxels is "
        "enough (measured median thickness 2), each more costs 14 ms a step on a core.",
    )
    boundary_clip: float = Field(
        5.0,
        gt=0,
        description="Distances beyond this many voxels count as this: windings are about 14 "
        "apart, so a far voxel tells nothing about which sheet it belongs to.",
    )

    @model_validator(mode="after")
    def _something_is_trained(self) -> LossConfig:
        if not any((self.dice, self.focal, self.boundary, self.cldice, self.connectivity)):
            raise ValueError(
                "all five loss weights are 0 (task.loss), so nothing would be learned; "
                "raise one, for example dice=0.3"
            )
        return self


class ValidationConfig(Section):
    """Which volumes are held out and how they are scored."""

    share: float = Field(
        0.34, gt=0, le=0.5, description="Share of the volumes held out; 1 / share is the folds."
    )
    fold: int = Field(0, ge=0, description="Which of the folds is held out, from 0.")
    max_volumes: int = Field(
        8, ge=1, description="Held-out volumes scored, evenly spaced; bounds a validation's cost."
    )
    max_side: int = Field(
        96,
        ge=8,
        description="Side in voxels of the scored crop: the window with most surface. Bounds the "
        "cost; 96 scores the small volumes whole.",
    )
    overlap: float = Field(0.25, ge=0, lt=1, description="Overlap of neighbouring windows.")
    windows_per_forward: int = Field(4, ge=1, description="Windows in one forward pass.")
    surface_tolerance: float = Field(
        2.0, ge=0, description="Tolerance of the surface Dice in voxels; the competition's is 2."
    )

    @model_validator(mode="after")
    def _fold_exists(self) -> ValidationConfig:
        if self.fold >= self.folds:
            raise ValueError(
                f"fold={self.fold} does not exist: share={self.share} makes {self.folds} folds, "
                f"numbered from 0; lower task.validation.fold or task.validation.share"
            )
        return self

    @property
    def folds(self) -> int:
        """Return the number of folds, at least 2."""
        return max(2, round(1 / self.share))


class GeneratedConfig(Section):
    """Scroll CT volumes made up when no data folder is given; estimates unless 'measured'."""

    volumes: int = Field(6, ge=2, le=999, description="Training volumes, two to a scroll.")
    side: int = Field(96, ge=16, description="Typical side in voxels; sizes vary about it.")
    seed: int = Field(0, ge=0, lt=2**31)
    pitch: float = Field(14.0, gt=4, description="Voxels from one winding to the next.")
    amplitude: float = Field(3.0, ge=0, description="Voxels of the crumpling of a sheet.")
    smoothness: float = Field(20.0, gt=0, description="Voxels over which the crumpling changes.")
    thickness: float = Field(5.0, gt=2, description="Voxels through a sheet of papyrus.")
    surface_thickness: float = Field(
        2.0, ge=1, description="Voxels of label 1 at the inner face (measured)."
    )
    papyrus: float = Field(150.0, ge=0, le=255, description="Grey value of papyrus; bright in CT.")
    grading: float = Field(
        30.0,
        ge=0,
        le=100,
        description="Grey values by which the inner face is brighter, the outer face darker than "
        "the sheet. Without it the faces look alike in a patch, whose curvature does not tell "
        "where the axis is, and Dice stays near 2/3 (measured after 800 steps: 0.62 at 0, 0.64 "
        "at 15, 0.82 and 0.90 in two runs at 30).",
    )
    air: float = Field(60.0, ge=0, le=255, description="Grey value of air.")
    blur: float = Field(1.0, ge=0, description="Standard deviation of the blur in voxels.")
    noise: float = Field(12.0, ge=0, description="Standard deviation of the noise in grey values.")
    unlabelled_share: float = Field(
        0.58, ge=0, lt=0.95, description="Share of voxels with label 2, in blobs (measured)."
    )


class Config(Section):
    """The `task:` section of a vesuvius job file."""

    patch_size: int = Field(
        32, ge=8, description="Side of a cubic patch in voxels; two windings fit 32."
    )
    patches_per_volume: int = Field(
        64, ge=1, description="Patches drawn from each volume in an epoch."
    )
    foreground_share: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Share of patches centred on a surface voxel, the others on any labelled one: "
        "with 5 % of surface, unbalanced patches would often hold none.",
    )
    unlabelled: Literal["masked", "surface", "background"] = Field(
        "masked",
        description="What label 2 means in training. Only masked is right; the others rebuild the "
        "seed project's two labelling bugs. Validation always masks.",
    )
    cache_bytes: int = Field(
        2 * 2**30,
        ge=0,
        description="Decoded volumes kept in memory by each process; a 320-cubed one with its "
        "labels takes 66 MB.",
    )
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    validation: ValidationConfig = ValidationConfig()
    generated: GeneratedConfig = GeneratedConfig()

    def loss_formula(self) -> tuple[LossTerm, ...]:
        """Return the five terms with their weights."""
        loss = self.loss
        return (
            LossTerm("dice", loss.dice, formula="1 - 2 sum(p t) / sum(p + t)"),
            LossTerm("focal", loss.focal, formula="-alpha (1 - p)^gamma log p"),
            LossTerm("boundary", loss.boundary, formula="mean(p distance)"),
            LossTerm("cldice", loss.cldice, formula="1 - soft skeleton overlap"),
            LossTerm("connectivity", loss.connectivity, formula="1 - Dice of neighbour pairs"),
        )

    @model_validator(mode="after")
    def _patch_fits(self) -> Config:
        divisor = self.model.divisor
        if self.patch_size % divisor or self.patch_size == divisor:
            raise ValueError(
                f"patch_size={self.patch_size} is not twice {divisor} or a higher multiple, as the "
                f"{len(self.model.channels)} levels of model.channels={list(self.model.channels)} "
                f"need; change task.patch_size or the number of channels"
            )
        if self.validation.max_side < self.patch_size:
            raise ValueError(
                f"validation.max_side={self.validation.max_side} is smaller than a patch; raise "
                f"task.validation.max_side to at least task.patch_size={self.patch_size}"
            )
        return self
