"""A data set of made-up Sentinel-2 patches in BigEarthNet's layout, for runs without a data folder.

Runs in: driver, worker (writes files).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tifffile

from jobs.bigearthnet.config import GeneratedConfig
from jobs.bigearthnet.landscape import landscape
from jobs.shared.generated import ensure_written, generated_folder

#: Part of the fingerprint; raise it when the same parameters would give other patches.
VERSION = 1
ROOT = "BigEarthNet-v1.0"


def ensure_generated(config: GeneratedConfig, cache_dir: Path) -> Path:
    """Return the folder of the data set, written first when it is not there.

    Raises:
        DataError: the folder cannot be written.
    """
    target = generated_folder("bigearthnet", VERSION, config, cache_dir)
    return ensure_written(target, lambda folder: _write_set(folder / ROOT, config))


def _write_set(root: Path, config: GeneratedConfig) -> None:
    for index in range(config.patches):
        name = f"GENERATED_{index // 10:02d}_{index % 10:02d}"
        folder = root / name
        folder.mkdir(parents=True)
        for band, counts in landscape(config, np.random.default_rng([config.seed, index])).items():
            tifffile.imwrite(folder / f"{name}_{band}.tif", counts, photometric="minisblack")
        labels = {"labels": [], "tile_source": "generated"}
        (folder / f"{name}_labels_metadata.json").write_text(json.dumps(labels))
