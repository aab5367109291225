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
Counts = npt.NDArray[np.int64]

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
    surface_by_slice: Counts
    labelled_by_slice: Counts
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
    per_slice = _histograms(label)
    _require_labels(volume, per_slice.sum(axis=0))
    mean, std = _mean_and_std(_histograms(image).sum(axis=0))
    if std == 0.0:
        raise DataError(
            f"all {image.size} voxels of volume {volume.volume_id} are {mean:.0f} "
            f"({volume.image}); it is probably an empty export; replace it or remove it from "
            f"data.path={volume.image.parents[1]}"
        )
    return LoadedVolume(
        volume_id=volume.volume_id,
        image=image,
        label=label,
        surface_by_slice=np.cumsum(per_slice[:, SURFACE]),
        labelled_by_slice=np.cumsum(per_slice[:, :UNLABELLED].sum(axis=1)),
        mean=mean,
        std=std,
    )


def _histograms(voxels: Voxels) -> Counts:
    """Return the number of voxels of each value, slice by slice, which keeps memory small."""
    return np.stack([np.bincount(part.ravel(), minlength=256) for part in voxels])


def _mean_and_std(counts: Counts) -> tuple[float, float]:
    """Return mean and standard deviation of the voxels behind a histogram."""
    values = np.arange(counts.size)
    mean = float(counts @ values / counts.sum())
    return mean, float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum()))


def _require_labels(volume: Volume, counts: Counts) -> None:
    root = volume.label.parents[1]
    unknown = counts[UNLABELLED + 1 :]
    if unknown.any():
        values = [int(place) + UNLABELLED + 1 for place in np.flatnonzero(unknown)]
        raise DataError(
            f"labels of volume {volume.volume_id} hold {values[:8]} in {unknown.sum()} voxels, "
            f"only 0 background, 1 surface and 2 unlabelled are known ({volume.label}); they are "
            f"probably another set's masks; replace the file or check data.path={root}"
        )
    if counts[UNLABELLED] == counts.sum():
        raise DataError(
            f"volume {volume.volume_id} has no labelled voxel: all {counts.sum()} are 2 "
            f"({volume.label}); it is probably a test volume; remove it from data.path={root}"
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
