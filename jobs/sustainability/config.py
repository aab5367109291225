"""Settings of the sustainability job: what the `task:` section of its job file may say.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jobs.shared.pairs import PairAugmentConfig
from runner.spec import Config as Section

#: YAML has no tuples: a list is taken for one, its elements stay strict.
Channels = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=2, max_length=7)
]


class AugmentConfig(PairAugmentConfig):
    """What is done to a training photograph."""

    rotate90: bool = Field(True, description="Quarter turns: waste has no up.")
    intensity_probability: float = Field(
        0.3, ge=0, le=1, description="Probability of each change of brightness, contrast, noise."
    )


class ModelConfig(Section):
    """A small convolutional network for CPUs, or a vision transformer of four sizes."""

    kind: Literal["cnn", "vit"] = Field(
        "cnn", description="cnn learns from hundreds of photographs; vit needs many thousands."
    )
    side: int = Field(
        224, ge=32, description="Side of the pictures that the model is made for, in pixels."
    )
    channels: Channels = Field(
        (16, 32, 64, 128),
        description="Of the cnn: features after each halving of the side; the classes are told by "
        "the greatest of each over the picture.",
    )
    vit_size: Literal["tiny", "small", "medium", "base"] = Field(
        "tiny", description="Of the vit: 6, 22, 39 or 86 million weights."
    )
    patch: int = Field(16, ge=4, description="Of the vit: side of a patch in pixels.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Before the last layer, and in the vit.")

    @model_validator(mode="after")
    def _patches_fit(self) -> ModelConfig:
        if self.kind == "vit" and self.side % self.patch:
            raise ValueError(
                f"side={self.side} is not a multiple of patch={self.patch}; change "
                f"task.model.side or task.model.patch"
            )
        return self


class LossConfig(Section):
    """Cross entropy, and what weighs the classes."""

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of the label spread evenly.")
    class_weights: Literal["none", "balanced"] = Field(
        "none",
        description="balanced: a class weighs as the inverse of its training photographs, the mean "
        "over the photographs being 1.",
    )


class ValidationConfig(Section):
    """Which photographs are held out and how they are scored."""

    share: float = Field(
        0.2, gt=0, le=0.5, description="Share of each class (and of its default and real_world)."
    )
    max_photos: int = Field(
        512, ge=1, description="Held-out photographs scored, evenly spaced; bounds the cost."
    )
    photos_per_forward: int = Field(32, ge=1, description="Photographs in one forward pass.")


class GeneratedConfig(Section):
    """Waste drawn when no data folder is given. All parameters are chosen, none is measured."""

    photos_per_class: int = Field(12, ge=2, le=500, description="Half default, half real_world.")
    imbalance: float = Field(
        1.0,
        ge=1,
        description="The commonest class has this many times the photographs of the rarest; those "
        "between fall off evenly on a logarithmic scale.",
    )
    corrupt_share: float = Field(
        0.0, ge=0, lt=1, description="Share of the files that are cut off on purpose."
    )
    side: int = Field(256, ge=32, description="Side in pixels; the real set has 256.")
    seed: int = Field(0, ge=0, lt=2**31)


class Config(Section):
    """The `task:` section of a sustainability job file."""

    side: int = Field(224, ge=32, description="Side that photographs are resized to, in pixels.")
    max_unreadable_ratio: float = Field(
        0.2, ge=0, le=1, description="Share of unreadable photographs that is too much."
    )
    when_too_many: Literal["refuse", "warn"] = Field(
        "refuse",
        description="What to do above max_unreadable_ratio: not start, or say so and go on.",
    )
    sampling: Literal["photographs", "classes"] = Field(
        "photographs",
        description="What an epoch draws evenly. classes: each class as often as any other, so "
        "that rare ones are repeated.",
    )
    cache_bytes: int = Field(
        2**30,
        ge=0,
        description="Decoded photographs kept in memory by each process; one takes 0.15 MB at 224.",
    )
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    validation: ValidationConfig = ValidationConfig()
    generated: GeneratedConfig = GeneratedConfig()
