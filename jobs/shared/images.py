"""Photographs on disk: decoded whole, or an error; and the most recently used ones in memory.

Runs in: worker, driver (reads files).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
KeyT = TypeVar("KeyT", bound=Hashable)


def read_colour(path: Path, side: int | None = None) -> Pixels:
    """Return the picture as (3, H, W), resized to a square of `side` pixels if it is given.

    Grey, palette and CMYK pictures, which photograph sets have now and then, become RGB.

    Raises:
        OSError: the file is missing, cut short or not a picture (Pillow's own errors are OSErrors;
            see `census.READ_ERRORS` for what damage may raise besides).
    """
    with Image.open(path) as file:
        picture = file.convert("RGB")
    if side is not None and picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.ascontiguousarray(np.asarray(picture, np.uint8).transpose(2, 0, 1))


def read_label_values(path: Path) -> Pixels:
    """Return the stored values of a picture of labels as (H, W), palette indices as they are.

    Raises:
        OSError: as `read_colour`, or the picture has colours, whose values are no labels.
    """
    with Image.open(path) as file:
        if file.mode not in {"L", "P", "1"}:
            raise OSError(f"has mode {file.mode}, labels are stored in one channel of 8 bits")
        return np.array(file, np.uint8)


def resized_labels(values: Pixels, side: int) -> Pixels:
    """Return label values resized to a square; the nearest is taken, none is invented."""
    picture = Image.fromarray(values).resize((side, side), Image.Resampling.NEAREST)
    return np.array(picture, np.uint8)


class ArrayCache(Generic[KeyT]):
    """The most recently used arrays, up to `limit_bytes`; the last one is not kept beyond it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._arrays: OrderedDict[KeyT, tuple[npt.NDArray[Any], ...]] = OrderedDict()
        self.used_bytes = 0

    def get(
        self, key: KeyT, load: Callable[[], tuple[npt.NDArray[Any], ...]]
    ) -> tuple[npt.NDArray[Any], ...]:
        """Return the arrays of a key, from memory when they are kept; not to be written to."""
        arrays = self._arrays.get(key)
        if arrays is None:
            arrays = self._arrays[key] = load()
            self.used_bytes += _size(arrays)
        self._arrays.move_to_end(key)
        while self.used_bytes > self._limit_bytes and self._arrays:
            _, oldest = self._arrays.popitem(last=False)
            self.used_bytes -= _size(oldest)
        return arrays


def _size(arrays: tuple[npt.NDArray[Any], ...]) -> int:
    return sum(array.nbytes for array in arrays)
