"""A data set of made-up cores in the real set's layout, for runs without a data folder.

Runs in: driver, worker (writes files).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jobs.orion.catalogue import MARKERS, STAIN
from jobs.orion.config import GeneratedConfig
from jobs.orion.tissue import tissue
from jobs.shared.generated import ensure_written, generated_folder

#: Part of the fingerprint; raise it when the same parameters would give other cores.
VERSION = 1
ROOT = "core_patches_npy"


def ensure_generated(config: GeneratedConfig, channels: int, cache_dir: Path) -> Path:
    """Return the folder of the data set, written first when it is not there.

    Raises:
        DataError: the folder cannot be written.
    """
    target = generated_folder(f"orion-{channels}", VERSION, config, cache_dir)
    return ensure_written(target, lambda folder: _write_set(folder / ROOT, config, channels))


def _write_set(root: Path, config: GeneratedConfig, channels: int) -> None:
    root.mkdir()
    for index in range(config.cores):
        rng = np.random.default_rng([config.seed, index])
        stain, markers = tissue(config, channels, rng)
        np.save(root / f"core_{index:03d}{STAIN}", stain)
        np.save(root / f"core_{index:03d}{MARKERS}", markers)
