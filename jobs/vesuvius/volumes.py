"""Decoded volumes: the deep check of each when it is first loaded, and a cache bounded in bytes.

Runs in: worker, driver (reads files).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from jobs.vesuvius.catalogue import UNREADABLE, Volume, unreadable
from watchdog.errors import DataError

Voxels = npt.NDArray[np.uint8]

BACKGROUND, SURFACE, UNLABELLED = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class LoadedVolume:
    """Image and labels of a volume, both DHW, and what normalises and samples it.

    `surface_by_slice` and `labelled_by_slice` are running totals over the slices: enough to draw
    a voxel of either kind evenly without a list of all of them. `mean` and `std` are of the image.
    """

    volume_id: str
    image: Voxels
    label: Voxels
    surface_by_slice: npt.NDArray[np.int64]
    labelled_by_slice: npt.NDArray[np.int64]
    mean: float
    std: float

    @property
    def nbytes(self) -> int:
        """Return the memory that it takes, in bytes."""
        return self.image.nbytes + self.label.nbytes


def load_volume(volume: Volume) -> LoadedVolume:
    """Return the decoded volume.

    Raises:
        DataError: a file does not decode to what its header said, a label value is not 0, 1 or 2,
            no voxel is labelled, or the image is one flat grey.
    """
    image, label = _decode(volume.image, volume), _decode(volume.label, volume)
    per_slice = np.stack([np.bincount(part.ravel(), minlength=256) for part in label])
    counts = per_slice.sum(axis=0)
    strange = [int(value) for value in np.flatnonzero(counts[UNLABELLED + 1 :]) + UNLABELLED + 1]
    root = volume.label.parents[1]
    if strange:
        raise DataError(
            f"labels of volume {volume.volume_id} hold the values {strange[:8]} in "
            f"{counts[UNLABELLED + 1 :].sum()} voxels, only 0 background, 1 surface and 2 "
            f"unlabelled are known ({volume.label}); they are probably another set's masks; "
            f"replace the file or check data.path={root}"
        )
    if counts[UNLABELLED] == label.size:
        raise DataError(
            f"volume {volume.volume_id} has no labelled voxel: all {label.size} are 2 "
            f"({volume.label}); nothing can be learned from it; remove it from data.path={root}"
        )
    std = float(image.std())
    if std == 0.0:
        raise DataError(
            f"every voxel of volume {volume.volume_id} is {image.flat[0]} ({volume.image}); it is "
            f"probably an empty export; replace or remove it from data.path={root}"
        )
    return LoadedVolume(
        volume_id=volume.volume_id,
        image=image,
        label=label,
        surface_by_slice=np.cumsum(per_slice[:, SURFACE]),
        labelled_by_slice=np.cumsum(per_slice[:, :UNLABELLED].sum(axis=1)),
        mean=float(image.mean()),
        std=std,
    )


def _decode(path: Path, volume: Volume) -> Voxels:
    try:
        voxels: npt.NDArray[Any] = tifffile.imread(path)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if voxels.shape != volume.shape or voxels.dtype != np.uint8:
        raise unreadable(
            path,
            f"it decodes to {voxels.dtype} {voxels.shape}, its header said uint8 {volume.shape}",
        )
    return voxels


class VolumeCache:
    """The most recently used volumes, up to `limit_bytes`; at least the last one is kept."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._volumes: OrderedDict[str, LoadedVolume] = OrderedDict()

    @property
    def used_bytes(self) -> int:
        """Return the bytes of the volumes kept now."""
        return self._used_bytes

    def get(self, volume: Volume) -> LoadedVolume:
        """Return the decoded volume, from memory when it is kept.

        Raises:
            DataError: see `load_volume`.
        """
        loaded = self._volumes.get(volume.volume_id)
        if loaded is None:
            loaded = self._volumes[volume.volume_id] = load_volume(volume)
            self._used_bytes += loaded.nbytes
        self._volumes.move_to_end(volume.volume_id)
        while self._used_bytes > self._limit_bytes and len(self._volumes) > 1:
            _, oldest = self._volumes.popitem(last=False)
            self._used_bytes -= oldest.nbytes
        return loaded
