"""Settings of the adaptivestream job: what the `task:` section of its job file may say.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jobs.shared.pairs import PairAugmentConfig
from runner.job_facts import LossTerm
from runner.spec import Config as Section

#: Halvings of the picture in the encoder and doublings in the decoder: 224 to 7 and back.
LEVELS = 5

#: YAML has no tuples: a list is taken for one, its elements stay strict.
Channels = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...],
    Field(strict=False, min_length=LEVELS, max_length=LEVELS),
]


class AugmentConfig(PairAugmentConfig):
    """What is done to a training picture and its mask. Pets stand upright: no turns."""

    flip: bool = Field(False, description="Mirror rows and columns; upside down is no photograph.")
    rotate90: bool = Field(False, description="Quarter turns.")
    intensity_probability: float = Field(
        0.3, ge=0, le=1, description="Probability of each of the changes below, to the input alone."
    )
    mirror: bool = Field(True, description="Swap left and right with probability 1/2.")
    smallest_window: float = Field(
        0.6,
        gt=0,
        le=1,
        description="A window of this share of the side up to all of it is enlarged to the whole.",
    )


class ModelConfig(Section):
    """A shared encoder, a decoder for the mask, a linear head for the class."""

    channels: Channels = Field(
        (16, 32, 64, 96, 128), description="Features after each of the five halvings of the side."
    )
    decoder_input: Literal["grid", "pooled"] = Field(
        "grid",
        description="What the decoder doubles five times: the 7x7 grid of the encoder, which gives "
        "224x224 again, or, as in the seed project's bug, its mean, a grid of 1x1: 32x32.",
    )
    head_std: float = Field(
        0.01,
        ge=0,
        description="Standard deviation of the heads' first weights. Small, so that the first "
        "answer is near 'do not know'; at 1.4 some first logits are beyond 17.",
    )


class LossConfig(Section):
    """Weights of the three terms and how they are kept finite."""

    mask_cross_entropy: float = Field(1.0, ge=0, description="Weight of the pixels' cross entropy.")
    mask_dice: float = Field(0.5, ge=0, description="Weight of the soft Dice loss.")
    class_cross_entropy: float = Field(0.5, ge=0, description="Weight of the class's.")
    logit_limit: float | None = Field(
        10.0,
        gt=0,
        description="Logits are clamped to +- this before the losses, so that no pixel costs more "
        "than about this; null: not clamped.",
    )
    form: Literal["logits", "probabilities"] = Field(
        "logits",
        description="logits: cross entropies from logits, finite for any finite logit. "
        "probabilities: logarithms of probabilities, which are infinite once a sigmoid has rounded "
        "to 0 or 1 (a logit above 17 in fp32); rebuilds the seed project's loss.",
    )

    @model_validator(mode="after")
    def _something_is_trained(self) -> LossConfig:
        if not any((self.mask_cross_entropy, self.mask_dice, self.class_cross_entropy)):
            raise ValueError(
                "all three loss weights are 0 (task.loss), so nothing would be learned; raise one, "
                "for example mask_cross_entropy=1.0"
            )
        return self


class ValidationConfig(Section):
    """Which photographs are held out and how they are scored."""

    share: float = Field(
        0.25,
        gt=0,
        le=0.5,
        description="Share held out where the folder has no trainval.txt and test.txt.",
    )
    max_photos: int = Field(
        64, ge=1, description="Held-out photographs scored, evenly spaced; bounds the cost."
    )
    photos_per_forward: int = Field(8, ge=1, description="Photographs in one forward pass.")


class GeneratedConfig(Section):
    """Pets drawn when no data folder is given. All parameters are chosen, none is measured."""

    photos: int = Field(100, ge=10, le=9999, description="Photographs, the breeds in turn.")
    breeds: int = Field(5, ge=2, le=6, description="Breeds; they differ in coat, ears and pattern.")
    side: int = Field(192, ge=64, description="Shorter side in pixels; the longer is a third more.")
    seed: int = Field(0, ge=0, lt=2**31)


class Config(Section):
    """The `task:` section of an adaptivestream job file."""

    side: int = Field(
        224, ge=32, description="Side of the square that photographs are resized to, in pixels."
    )
    label: Literal["breed", "species"] = Field(
        "breed", description="What the head tells apart: 37 breeds, or cats and dogs."
    )
    max_unreadable_ratio: float = Field(
        0.2, ge=0, le=1, description="Share of unreadable photographs above which nothing starts."
    )
    cache_bytes: int = Field(
        2**30,
        ge=0,
        description="Decoded photographs kept in memory by each process; one takes 0.2 MB at 224.",
    )
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    validation: ValidationConfig = ValidationConfig()
    generated: GeneratedConfig = GeneratedConfig()

    @property
    def classes(self) -> int:
        """Return the number of classes, whatever the folder holds of them."""
        return {"breed": 37, "species": 2}[self.label]

    def loss_formula(self) -> tuple[LossTerm, ...]:
        """Return the three terms; logarithms of bare probabilities have no bound."""
        loss = self.loss
        is_finite = loss.form == "logits" or loss.logit_limit is not None
        steepest = 1.0 if is_finite else None
        pixels, classes = "-t log p - (1 - t) log(1 - p)", "-log p[class]"
        return (
            LossTerm("mask_cross_entropy", loss.mask_cross_entropy, steepest, is_finite, pixels),
            LossTerm("mask_dice", loss.mask_dice, formula="1 - 2 sum(p t) / sum(p + t)"),
            LossTerm("class_cross_entropy", loss.class_cross_entropy, steepest, is_finite, classes),
        )

    @model_validator(mode="after")
    def _side_halves_five_times(self) -> Config:
        if self.side % 2**LEVELS:
            raise ValueError(
                f"side={self.side} cannot be halved {LEVELS} times; set task.side to a multiple of "
                f"{2**LEVELS}, such as 224"
            )
        return self
