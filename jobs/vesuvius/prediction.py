"""Masks of the test volumes in the competition's layout: `<id>.tif`, and a zip of all of them.

Runs in: driver (reads and writes files).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from torch import nn

from jobs.vesuvius.catalogue import UNREADABLE, read_header, unreadable
from jobs.vesuvius.config import Config
from jobs.vesuvius.validation import logits_of
from watchdog.errors import DataError

SUBMISSION = "submission.zip"


def write_predictions(
    model: nn.Module, source: Path, folder: Path, config: Config, device: torch.device
) -> tuple[Path, ...]:
    """Write the mask of each `source/<id>.tif` to `folder/<id>.tif`; return the files.

    A mask is uint8, of the size of its volume, 1 at surface and 0 elsewhere, LZW-compressed.

    Raises:
        DataError: there is no volume, one cannot be read, or it is smaller than a patch.
    """
    volumes = sorted(source.glob("*.tif")) if source.is_dir() else []
    if not volumes:
        raise DataError(
            f"no .tif file in {source}; the test volumes of the set belong there; check data.path"
        )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in volumes:
        mask = predicted_mask(model, _read(path, config), config, device)
        target = folder / path.name
        tifffile.imwrite(target, mask, compression="lzw", photometric="minisblack")
        written.append(target)
    with zipfile.ZipFile(folder / SUBMISSION, "w") as archive:  # LZW does not shrink further
        for target in written:
            archive.write(target, target.name)
    return tuple(written)


def predicted_mask(
    model: nn.Module, volume: npt.NDArray[np.uint8], config: Config, device: torch.device
) -> npt.NDArray[np.uint8]:
    """Return 1 where the model sees surface; grey values are normalised by the volume."""
    grey = volume.astype(np.float32)
    normalised = (grey - grey.mean()) / max(float(grey.std()), 1e-6)
    logits = logits_of(model, torch.from_numpy(normalised)[None, None].to(device), config)
    return (logits[0, 0] > 0).cpu().numpy().astype(np.uint8)


def _read(path: Path, config: Config) -> npt.NDArray[np.uint8]:
    shape = read_header(path)
    if min(shape) < config.patch_size:
        raise DataError(
            f"test volume {path} is {shape}, smaller than a patch along an axis; lower "
            f"task.patch_size={config.patch_size} or remove it"
        )
    try:
        volume: npt.NDArray[np.uint8] = tifffile.imread(path)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    return volume
