"""The photographs as the network sees them, each training sample a function of (index, generator).

Runs in: worker; the census in the driver.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from jobs.shared.census import Census
from jobs.shared.images import ArrayCache, Pixels, read_colour
from jobs.shared.pairs import PairAugmentation
from jobs.shared.remembered import remembered_census
from jobs.sustainability.catalogue import Catalogue, Photo
from jobs.sustainability.config import Config

log = logging.getLogger(__name__)


def take_photo_census(
    catalogue: Catalogue, config: Config, cache_dir: Path
) -> tuple[tuple[Photo, ...], Census[Path]]:
    """Return the photographs that can be decoded, and the census of all.

    Raises:
        DataError: nothing can be read, or too little where that is to be refused.
    """
    files = [photo.path for photo in catalogue.photos]
    census = remembered_census(files, read_colour, cache_dir, "colour pictures, 1")
    is_refused = config.when_too_many == "refuse"
    census.require_readable(
        max_unreadable_ratio=config.max_unreadable_ratio if is_refused else 1.0,
        noun="photographs",
        setting="task.max_unreadable_ratio",
    )
    readable = set(census.readable)
    return tuple(photo for photo in catalogue.photos if photo.path in readable), census


class WastePhotos:
    """Photographs by index: `image` (3, S, S) float32 and `label`.

    Where classes are drawn evenly, the index names the class and the generator the photograph.
    """

    def __init__(self, photos: Sequence[Photo], config: Config, *, is_training: bool) -> None:
        self._photos = tuple(photos)
        self._side = config.side
        self._cache: ArrayCache[Path] = ArrayCache(config.cache_bytes)
        self._augment = PairAugmentation(config.augment) if is_training else None
        by_class: dict[int, list[Photo]] = {}
        for photo in self._photos:
            by_class.setdefault(photo.label, []).append(photo)
        is_even = is_training and config.sampling == "classes"
        self._by_class = [by_class[label] for label in sorted(by_class)] if is_even else None

    def __len__(self) -> int:
        return len(self._photos)

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Return one sample.

        Raises:
            OSError: the file has gone since the census.
            IndexError: `index` is not one of the samples.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        photo = self._photos[index]
        if self._by_class is not None:
            group = self._by_class[index % len(self._by_class)]
            photo = group[int(rng.integers(len(group)))]
        (pixels,) = self._cache.get(photo.path, lambda: (read_colour(photo.path, self._side),))
        image = normalised(pixels)
        if self._augment is not None:
            image, _ = self._augment(image, image[:1], rng)
        return {"image": torch.from_numpy(image), "label": photo.label}


def normalised(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Return grey values 0 to 255 as -1 to 1."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)
