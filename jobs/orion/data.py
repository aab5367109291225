"""The training samples: crops of cores, each a pure function of (index, generator).

Targets keep the scale they are stored with. Stretching each crop to its own percentiles, as the
seed project did, blows the noise of an empty channel up to full brightness.

Runs in: worker.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from jobs.orion.catalogue import Core, Floats, LoadedCore, read_core
from jobs.orion.config import Config
from jobs.shared.census import NextReadable
from jobs.shared.pairs import PairAugmentation
from watchdog.errors import DataError


def core_reader(cores: Sequence[Core], config: Config) -> NextReadable[Core, LoadedCore]:
    """Return the cores by index, kept in memory, the next one in place of an unreadable one."""

    def read(core: Core) -> LoadedCore:
        loaded = read_core(core, config.channels)
        _require_room(loaded, config.crop)
        return loaded

    kept: Callable[[Core], LoadedCore] = functools.lru_cache(maxsize=config.cache_cores)(read)
    return NextReadable(cores, kept, lambda core: core.name)


def _require_room(core: LoadedCore, crop: int) -> None:
    height, width = core.stain.shape[1:]
    if min(height, width) < crop:
        raise DataError(
            f"core {core.name} is {height} x {width} pixels, smaller than a crop; lower "
            f"task.crop={crop}"
        )


class Crops:
    """`crops_per_core` crops of each core; `index` names the core, `rng` place and moves."""

    def __init__(self, cores: Sequence[Core], config: Config) -> None:
        self._config = config
        self._reader = core_reader(cores, config)
        self._augment = PairAugmentation(config.augment)

    def __len__(self) -> int:
        return len(self._reader) * self._config.crops_per_core

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return `stain` and `markers`, both CHW float32.

        Raises:
            DataError: not one core can be read.
            IndexError: `index` is not one of the samples.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        core = self._reader.get(index // self._config.crops_per_core)
        stain, markers = self._augment(*cut(core, self._config.crop, rng), rng)
        return {"stain": stain, "markers": markers}


def cut(core: LoadedCore, side: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return a random square of both images."""
    y, x = (int(rng.integers(0, size - side + 1)) for size in core.stain.shape[1:])
    window = np.s_[:, y : y + side, x : x + side]
    return core.stain[window], core.markers[window]


def middle(image: Floats, max_side: int, divisor: int) -> Floats:
    """Return the middle of an image, at most `max_side`, its sides multiples of `divisor`."""
    sizes = [min(size, max_side) // divisor * divisor for size in image.shape[1:]]
    y, x = ((whole - size) // 2 for whole, size in zip(image.shape[1:], sizes, strict=True))
    return np.ascontiguousarray(image[:, y : y + sizes[0], x : x + sizes[1]])
