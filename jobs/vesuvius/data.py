"""The training samples: balanced, augmented patches, each a pure function of (index, generator).

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from jobs.vesuvius.augment import Augmentation
from jobs.vesuvius.catalogue import Volume
from jobs.vesuvius.config import Config
from jobs.vesuvius.distance import signed_distance
from jobs.vesuvius.sampling import draw_corner
from jobs.vesuvius.volumes import BACKGROUND, SURFACE, UNLABELLED, LoadedVolume, VolumeCache


class SurfacePatches:
    """`patches_per_volume` patches of each volume; `index` names the volume, `rng` the place."""

    def __init__(self, volumes: Sequence[Volume], config: Config) -> None:
        self._volumes = tuple(volumes)
        self._config = config
        self._cache = VolumeCache(config.cache_bytes)
        self._augment = Augmentation(config.augment)

    def __len__(self) -> int:
        return len(self._volumes) * self._config.patches_per_volume

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, torch.Tensor]:
        """Return `image` float32, `label` uint8 and `distance` float32, all CDHW with C = 1.

        Raises:
            DataError: the volume cannot be trained on, found when it is first decoded.
            IndexError: `index` is not one of the samples.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        volume = self._cache.get(self._volumes[index // self._config.patches_per_volume])
        image, label = self._cut(volume, rng)
        moved, turned = self._augment(image[None], label[None], rng)
        target = as_trained(turned, self._config.unlabelled)
        distance = signed_distance(target[0], self._config.loss.boundary_clip)[None]
        return {
            "image": moved,
            "label": torch.from_numpy(target),
            "distance": torch.from_numpy(distance),
        }

    def _cut(
        self, volume: LoadedVolume, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        side = self._config.patch_size
        corner = draw_corner(volume, side, self._config.foreground_share, rng)
        window = tuple(slice(start, start + side) for start in corner)
        return normalised(volume, window), np.ascontiguousarray(volume.label[window])


def normalised(volume: LoadedVolume, window: tuple[slice, ...]) -> npt.NDArray[np.float32]:
    """Return a window of the image, the volume's mean and standard deviation taken out.

    By volume, not by patch: scanners and scrolls differ in grey, while how much papyrus is in a
    patch is part of what the model should see.
    """
    grey = volume.image[window].astype(np.float32)
    return (grey - np.float32(volume.mean)) / np.float32(volume.std)


def as_trained(label: npt.NDArray[np.uint8], unlabelled: str) -> npt.NDArray[np.uint8]:
    """Return the label with unlabelled voxels kept (masked), or made surface or background."""
    if unlabelled == "masked":
        return label
    value = SURFACE if unlabelled == "surface" else BACKGROUND
    return np.where(label == UNLABELLED, np.uint8(value), label)
