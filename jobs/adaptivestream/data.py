"""The photographs as the network sees them, each training sample a function of (index, generator).

Runs in: worker; the census in the driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from jobs.adaptivestream.augment import Augmentation
from jobs.adaptivestream.catalogue import Catalogue, Photo
from jobs.adaptivestream.config import Config, ValidationConfig
from jobs.shared.census import Census, Unreadable, spread
from jobs.shared.images import ArrayCache, Pixels, read_colour, read_label_values, resized_labels
from jobs.shared.remembered import remembered_census
from watchdog.errors import DataError

PET, BACKGROUND, BORDER = 1, 2, 3
#: What a border pixel is in training; no loss and no score counts it.
IGNORED = 255


def take_photo_census(catalogue: Catalogue, cache_dir: Path) -> Census[Photo]:
    """Return which photographs can be read with their trimaps; decodes all of them, once."""
    by_image = {photo.image: photo for photo in catalogue.photos}
    trimaps = [photo.trimap for photo in catalogue.photos]

    def read(path: Path) -> None:
        photo = by_image.get(path)
        if photo is not None:  # a trimap is read with its photograph
            require_same_size(photo, read_colour(path).shape[1:], read_trimap(photo.trimap).shape)

    found = remembered_census([*by_image, *trimaps], read, cache_dir, "pets, 1")
    why = {Path(bad.name): bad.why for bad in found.unreadable}
    return Census(
        readable=tuple(photo for photo in catalogue.photos if photo.image not in why),
        unreadable=tuple(
            Unreadable(photo.name, why[photo.image])
            for photo in catalogue.photos
            if photo.image in why
        ),
    )


def read_trimap(path: Path) -> Pixels:
    """Return the stored values of a trimap, (H, W).

    Raises:
        OSError: it cannot be decoded.
        DataError: it holds values other than 1, 2 and 3.
    """
    values = read_label_values(path)
    counts = np.bincount(values.ravel(), minlength=256)
    counts[[PET, BACKGROUND, BORDER]] = 0
    if counts.any():
        raise DataError(
            f"{path} holds {np.flatnonzero(counts)[:8].tolist()} in {counts.sum()} pixels, only 1 "
            f"pet, 2 background and 3 border are known; it is probably another set's mask"
        )
    return values


def require_same_size(photo: Photo, image: Sequence[int], trimap: Sequence[int]) -> None:
    """Check that photograph and trimap are of the same height and width.

    Raises:
        DataError: they are not.
    """
    if tuple(image) != tuple(trimap):
        raise DataError(
            f"{photo.name} is {image[0]} x {image[1]} pixels, its trimap {trimap[0]} x "
            f"{trimap[1]}; the two are probably of different releases"
        )


def as_trained(trimap: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return 1 for pet, 0 for background and `IGNORED` for border: nobody classified that."""
    target = np.full_like(trimap, IGNORED)
    target[trimap == PET] = 1
    target[trimap == BACKGROUND] = 0
    return target


@dataclass(frozen=True, slots=True)
class Split:
    """The photographs to train on and those held out."""

    train: tuple[Photo, ...]
    validation: tuple[Photo, ...]
    is_official: bool


def split_photos(
    photos: Sequence[Photo], test_names: frozenset[str] | None, config: ValidationConfig
) -> Split:
    """Return the official split, or every n-th photograph of each breed held out.

    Raises:
        DataError: one side is empty.
    """
    if test_names is not None:
        held = {photo.name for photo in photos if photo.name in test_names}
    else:
        every = max(2, round(1 / config.share))
        by_breed = sorted(photos, key=lambda photo: (photo.breed, photo.name))
        held = {photo.name for place, photo in enumerate(by_breed) if place % every == every - 1}
    train = tuple(photo for photo in photos if photo.name not in held)
    validation = tuple(photo for photo in photos if photo.name in held)
    if not train or not validation:
        raise DataError(
            f"{len(photos)} photographs leave {len(train)} to train on and {len(validation)} to "
            f"validate with; the folder is too small, or trainval.txt and test.txt are another "
            f"set's; check data.path, or remove the two and set task.validation.share"
        )
    return Split(train, validation, is_official=test_names is not None)


def evenly_spaced(photos: Sequence[Photo], limit: int) -> tuple[Photo, ...]:
    """Return at most `limit` of the photographs, spread over the whole list."""
    return tuple(photos[int(place)] for place in spread(len(photos), limit))


class PetPhotos:
    """Photographs by index: `image` (3, S, S) float32, `mask` (S, S), `label` a class."""

    def __init__(self, photos: Sequence[Photo], config: Config, *, augments: bool) -> None:
        self._photos = tuple(photos)
        self._config = config
        self._cache: ArrayCache[str] = ArrayCache(config.cache_bytes)
        self._augment = Augmentation(config.augment) if augments else None

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
        pixels, trimap = self._cache.get(photo.name, lambda: self._load(photo))
        image, mask = normalised(pixels), as_trained(trimap)
        if self._augment is not None:
            image, mask = self._augment(image, mask, rng)
        return {
            "image": torch.from_numpy(image),
            "mask": torch.from_numpy(mask),
            "label": label_of(photo, self._config),
        }

    def trimap(self, index: int) -> Pixels:
        """Return the stored trimap of a photograph."""
        return read_trimap(self._photos[index].trimap)

    def _load(self, photo: Photo) -> tuple[Pixels, Pixels]:
        side = self._config.side
        return read_colour(photo.image, side), resized_labels(read_trimap(photo.trimap), side)


def normalised(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Return grey values 0 to 255 as -1 to 1."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def label_of(photo: Photo, config: Config) -> int:
    """Return the class of a photograph."""
    return photo.breed if config.label == "breed" else photo.species
