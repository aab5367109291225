"""Random changes to a photograph and its mask: one window and one mirror carry both.

Runs in: worker (pure).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.adaptivestream.config import AugmentConfig
from jobs.shared.pairs import PairAugmentation

Array = npt.NDArray[Any]
Places = npt.NDArray[np.int64]


class Augmentation:
    """The augmentation of a configuration; all its randomness comes from the caller's generator."""

    def __init__(self, config: AugmentConfig) -> None:
        self._config = config
        self._pairs = PairAugmentation(config)

    def __call__(self, image: Array, mask: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return image (C, H, W) and mask (H, W) or (C, H, W) changed; H and W stay."""
        rows, columns = self._draw_window(image.shape[-2], image.shape[-1], rng)
        image = cut(image, rows, columns)
        return self._pairs(
            image, cut(mask, rows, columns) if self._config.moves_target else mask, rng
        )

    def _draw_window(
        self, height: int, width: int, rng: np.random.Generator
    ) -> tuple[Places, Places]:
        share = rng.uniform(self._config.smallest_window, 1.0)
        rows, columns = (_stretch(size, share, rng.random()) for size in (height, width))
        if self._config.mirror and rng.random() < 0.5:
            columns = columns[::-1]
        return rows, columns


def cut(array: Array, rows: Places, columns: Places) -> Array:
    """Return the pixels at the given rows and columns of the last two axes, contiguous."""
    return np.ascontiguousarray(array[..., rows[:, None], columns])


def _stretch(size: int, share: float, where: float) -> Places:
    """Return `size` places, evenly over a window of that share, which lies at `where` (0 to 1)."""
    length = max(1.0, share * size)
    start = where * (size - length)
    return np.minimum((start + (np.arange(size) + 0.5) * length / size).astype(np.int64), size - 1)
