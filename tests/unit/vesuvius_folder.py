"""Builds small data folders in the Kaggle layout, whole ones and ones with a defect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from jobs.vesuvius.config import Config

SIDE = 20


def small_config(**task: object) -> Config:
    """Return settings whose patches fit the volumes below and whose model is tiny."""
    defaults = {
        "patch_size": 8,
        "patches_per_volume": 4,
        "model": {"channels": [4, 8], "residual_units": 1},
        "generated": {"volumes": 6, "side": 24, "pitch": 8.0, "thickness": 3.0},
    }
    return Config.model_validate(defaults | task)


def label_volume(side: int = SIDE) -> npt.NDArray[np.uint8]:
    """Return a sheet two voxels thick across a volume whose last third is unlabelled."""
    label = np.zeros((side, side, side), np.uint8)
    label[:, side // 4 : side // 4 + 2, :] = 1
    label[:, :, 2 * side // 3 :] = 2
    return label


def image_volume(label: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.uint8]:
    """Return grey values that show the surface through some noise."""
    noise = np.random.default_rng(seed).normal(0, 10, label.shape)
    return np.clip(np.where(label == 1, 170, 80) + noise, 0, 255).astype(np.uint8)


def write_folder(
    folder: Path,
    scrolls: Sequence[str] = ("1", "1", "2", "2", "3", "3"),
    *,
    compression: str = "zlib",
) -> Path:
    """Write one volume for each scroll id given, ids 10, 11, and so on; return the folder."""
    for name in ("train_images", "train_labels", "test_images"):
        (folder / name).mkdir(parents=True)
    rows = ["id,scroll_id"]
    for index, scroll in enumerate(scrolls):
        label = label_volume(SIDE + 2 * (index % 2))
        write(folder / f"train_images/{10 + index}.tif", image_volume(label, index), compression)
        write(folder / f"train_labels/{10 + index}.tif", label, compression)
        rows.append(f"{10 + index},{scroll}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder


def write(path: Path, voxels: npt.NDArray[np.generic], compression: str = "zlib") -> None:
    """Write a TIFF."""
    tifffile.imwrite(path, voxels, compression=compression, photometric="minisblack")
