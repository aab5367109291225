"""Random changes to a training patch: image and label move together, grey values change alone.

Runs in: worker (pure).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandFlipd,
    RandGaussianNoised,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
)

from jobs.vesuvius.config import AugmentConfig

IMAGE, LABEL = "image", "label"
PLANES = ((0, 1), (0, 2), (1, 2))


class Augmentation:
    """The augmentation of a configuration; all its randomness comes from the caller's generator."""

    def __init__(self, config: AugmentConfig) -> None:
        self._transform = Compose([*_moves(config), *_intensities(config)])

    def __call__(
        self,
        image: npt.NDArray[np.float32],
        label: npt.NDArray[np.uint8],
        rng: np.random.Generator,
    ) -> tuple[torch.Tensor, npt.NDArray[np.uint8]]:
        """Return the changed image and label, both CDHW; equal generators give equal bits."""
        self._transform.set_random_state(seed=int(rng.integers(2**32)))
        out = self._transform({IMAGE: torch.from_numpy(image), LABEL: torch.from_numpy(label)})
        return _plain(out[IMAGE]).float(), _plain(out[LABEL]).numpy()


def _moves(config: AugmentConfig) -> list[Any]:
    both = [IMAGE, LABEL]
    moves: list[Any] = []
    if config.flip:
        moves += [RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(3)]
    if config.rotate90:
        # Three quarters of the time, by one, two or three quarters: each of four is as likely.
        moves += [RandRotate90d(both, prob=0.75, max_k=3, spatial_axes=plane) for plane in PLANES]
    return moves


def _intensities(config: AugmentConfig) -> list[Any]:
    prob = config.intensity_probability
    changes: list[Any] = []
    if config.gamma:
        bounds = (1 - config.gamma, 1 + config.gamma)
        changes.append(RandAdjustContrastd(IMAGE, prob=prob, gamma=bounds))
    if config.scale:
        changes.append(RandScaleIntensityd(IMAGE, factors=config.scale, prob=prob))
    if config.shift:
        changes.append(RandShiftIntensityd(IMAGE, offsets=config.shift, prob=prob))
    if config.noise:
        changes.append(RandGaussianNoised(IMAGE, prob=prob, std=config.noise))
    return changes


def _plain(value: Any) -> torch.Tensor:
    """Return a contiguous tensor without the metadata that MONAI attaches."""
    tensor = value.as_tensor() if hasattr(value, "as_tensor") else value
    plain: torch.Tensor = tensor.contiguous()
    return plain
