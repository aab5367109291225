"""Which pairs of H&E and fluorescence lie under a folder, and one pair read and checked.

    core_patches_npy/core_000_HE.npy       (H, W, 3)
    core_patches_npy/core_000_ORION.npy    (H, W, C)

uint8, or float32 in [0, 1]; channel-first files are met as well and are recognised. C is a setting.

Runs in: driver, worker (reads files).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.shared.census import first_few
from watchdog.errors import DataError

STAIN, MARKERS = "_HE.npy", "_ORION.npy"
STAIN_CHANNELS = 3
#: Chosen: what a float may lie beyond [0, 1] by rounding.
_SLACK = 1e-3

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Core:
    """One core: its name and its two files."""

    name: str
    stain: Path
    markers: Path


@dataclass(frozen=True, slots=True, eq=False)
class LoadedCore:
    """Both images, channel-first float32 in [0, 1]."""

    name: str
    stain: Floats
    markers: Floats


def find_cores(folder: Path) -> tuple[Core, ...]:
    """Return the cores at any depth, by name; a file without its counterpart is an error.

    Raises:
        DataError: no folder, no pair in it, a name is there twice, or a counterpart is missing.
    """
    if not folder.is_dir():
        raise DataError(
            f"no data folder at {folder}; the path is probably mistyped or the set not "
            f"downloaded yet; check data.path={folder}"
        )
    stains, markers = _by_name(folder, STAIN), _by_name(folder, MARKERS)
    if not stains and not markers:
        raise DataError(
            f"no core in {folder}: no file is called core_..{STAIN} or core_..{MARKERS} at any "
            f"depth; it holds {first_few(sorted(p.name for p in folder.iterdir())) or 'nothing'}; "
            f"the archive is probably unpacked elsewhere; check data.path={folder}"
        )
    for these, those, noun in ((stains, markers, MARKERS), (markers, stains, STAIN)):
        alone = sorted(set(these) - set(those))
        if alone:
            raise DataError(
                f"{len(alone)} cores in {folder} have no file ..{noun}: {first_few(alone)}; the "
                f"set is probably copied in part; complete it or check data.path={folder}"
            )
    return tuple(Core(name, stains[name], markers[name]) for name in sorted(stains))


def _by_name(folder: Path, ending: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob(f"*{ending}")):
        name = path.name.removesuffix(ending)
        if name in found:
            raise DataError(
                f"core {name} is there twice, as {found[name]} and {path}; one of them could end "
                f"up on both sides of the split; remove one, or check data.path={folder}"
            )
        found[name] = path
    return found


def read_core(core: Core, channels: int) -> LoadedCore:
    """Return the core as two channel-first images.

    Raises:
        DataError: a file is damaged, of another type, range or number of channels, the two differ
            in size, or one of them is flat.
    """
    stain = _as_unit(_read(core.stain, STAIN_CHANNELS, "an H&E image has 3"), core.stain)
    expected = f"task.channels={channels} are expected"
    markers = _as_unit(_read(core.markers, channels, expected), core.markers)
    if stain.shape[1:] != markers.shape[1:]:
        raise DataError(
            f"core {core.name} is {stain.shape[1:]} in H&E but {markers.shape[1:]} in "
            f"fluorescence, in {core.stain.parent}; the two are not of one field of view"
        )
    for image, path in ((stain, core.stain), (markers, core.markers)):
        if float(image.std()) == 0.0:
            raise DataError(f"all of {path} is {image.flat[0]:.3g}; it is probably an empty export")
    return LoadedCore(core.name, stain, markers)


def _read(path: Path, channels: int, expected: str) -> npt.NDArray[Any]:
    """Return the array channel-first."""
    array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    if array.ndim == 3 and array.shape[-1] == channels:
        return np.moveaxis(array, -1, 0)
    if array.ndim == 3 and array.shape[0] == channels:
        return array
    raise DataError(f"{path} has shape {array.shape}, {expected} channels, last or first")


def _as_unit(array: npt.NDArray[Any], path: Path) -> Floats:
    """Return the image as float32 in [0, 1]."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array, dtype=np.float32) / np.float32(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"{path} holds {array.dtype}; uint8 or float32 in [0, 1] are known")
    low, high = float(array.min()), float(array.max())
    if not (low >= -_SLACK and high <= 1 + _SLACK):  # NaN is neither
        raise DataError(
            f"{path} holds floats from {low:.4g} to {high:.4g}, which are not in [0, 1]; it was "
            f"probably saved before scaling"
        )
    return np.ascontiguousarray(np.clip(array, 0, 1), dtype=np.float32)
