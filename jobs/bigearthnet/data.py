"""The training samples: crops of patches, each a pure function of (index, generator).

Runs in: worker.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from jobs.bigearthnet.catalogue import BANDS_10M, SIDES, Patch
from jobs.bigearthnet.config import Config
from jobs.bigearthnet.patches import Floats, Pair, input_bands, read_pair
from jobs.shared.census import READ_ERRORS, NextReadable
from jobs.shared.pairs import PairAugmentation

HIGH_SIDE = SIDES[BANDS_10M[0]]


class PatchReader:
    """Patches by index, kept in memory; what stands in for an unreadable one is a setting."""

    def __init__(self, patches: Sequence[Patch], config: Config) -> None:
        self._patches = patches
        self._config = config
        read: Callable[[Patch], Pair] = functools.partial(read_pair, config=config)
        self._read = functools.lru_cache(maxsize=config.cache_patches)(read)
        self._next = NextReadable(patches, self._read, lambda patch: patch.name)

    def __len__(self) -> int:
        return len(self._patches)

    def get(self, index: int, noise: np.random.Generator) -> Pair:
        """Return patch `index` or what stands in for it; `noise` is drawn from only if asked to.

        Raises:
            DataError: not one patch can be read.
        """
        if self._config.unreadable == "next":
            return self._next.get(index)
        try:
            return self._read(self._patches[index])
        except READ_ERRORS:
            return _noise(self._patches[index].name, self._config, noise)


def _noise(name: str, config: Config, rng: np.random.Generator) -> Pair:
    """Return random numbers instead of a patch: the bug of the seed project, on purpose."""
    side = HIGH_SIDE // config.scale
    low = rng.standard_normal((input_bands(config), side, side), dtype=np.float32)
    high = rng.standard_normal((len(BANDS_10M), HIGH_SIDE, HIGH_SIDE), dtype=np.float32)
    return Pair(name, low, high)


class Crops:
    """`crops_per_patch` crops of each patch; `index` names the patch, `rng` place and moves."""

    def __init__(self, patches: Sequence[Patch], config: Config) -> None:
        self._config = config
        self._reader = PatchReader(patches, config)
        self._augment = PairAugmentation(config.augment)

    def __len__(self) -> int:
        return len(self._reader) * self._config.crops_per_patch

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return `low` and `high`, both CHW float32.

        Raises:
            DataError: not one patch can be read.
            IndexError: `index` is not one of the samples.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        pair = self._reader.get(index // self._config.crops_per_patch, rng)
        low, high = self._augment(*cut(pair, self._config, rng), rng)
        return {"low": low, "high": high}


def cut(pair: Pair, config: Config, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return a random square of the input and the same ground of the target."""
    side, scale = config.crop, config.scale
    y, x = (int(at) for at in rng.integers(0, pair.low.shape[-1] - side + 1, size=2))
    fine = np.s_[:, y * scale : (y + side) * scale, x * scale : (x + side) * scale]
    return pair.low[:, y : y + side, x : x + side], pair.high[fine]
