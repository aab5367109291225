"""A data set of made-up scroll CT in the real set's layout, for runs without a data folder.

Runs in: driver, worker (writes files).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from jobs.shared import generated
from jobs.vesuvius.catalogue import COLUMNS, IMAGES, LABELS, TABLE, Shape
from jobs.vesuvius.config import GeneratedConfig
from jobs.vesuvius.scroll import scroll_volume

#: Part of the fingerprint; raise it when the same parameters would give other volumes.
VERSION = 1
TEST_IMAGES, TEST_TABLE = "test_images", "test.csv"
FIRST_ID, FIRST_SCROLL = 91_000_000, 91_001


def generated_folder(config: GeneratedConfig, cache_dir: Path) -> Path:
    """Return where the data set of these parameters lies, or would lie."""
    return generated.generated_folder("vesuvius", VERSION, config, cache_dir)


def ensure_generated(config: GeneratedConfig, cache_dir: Path) -> Path:
    """Return the folder of the data set, written first when it is not there.

    Raises:
        DataError: the folder cannot be written.
    """
    target = generated_folder(config, cache_dir)
    return generated.ensure_written(target, lambda folder: _write_set(folder, config))


def _write_set(folder: Path, config: GeneratedConfig) -> None:
    for name in (IMAGES, LABELS, TEST_IMAGES):
        (folder / name).mkdir(parents=True)
    rows = [(FIRST_ID + index, FIRST_SCROLL + index // 2) for index in range(config.volumes + 1)]
    for index, (volume_id, _) in enumerate(rows):
        rng = np.random.default_rng([config.seed, index])
        image, label = scroll_volume(_shape(config.side, rng), config, rng)
        is_test = index == config.volumes
        _write(folder / (TEST_IMAGES if is_test else IMAGES) / f"{volume_id}.tif", image)
        if not is_test:
            _write(folder / LABELS / f"{volume_id}.tif", label)
    _write_table(folder / TABLE, rows[:-1])
    _write_table(folder / TEST_TABLE, rows[-1:])


def _shape(side: int, rng: np.random.Generator) -> Shape:
    """Return a size within a sixth of the side along each axis, as real volumes differ too."""
    spread = side // 6
    d, h, w = (side + int(rng.integers(-spread, spread + 1)) for _ in range(3))
    return d, h, w


def _write(path: Path, voxels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    tifffile.imwrite(path, voxels, compression="lzw", photometric="minisblack")


def _write_table(path: Path, rows: Sequence[tuple[int, int]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
