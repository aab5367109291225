"""Where a training patch is cut: balanced between surface voxels and any labelled voxel.

MONAI's `RandCropByPosNegLabel` wants lists of all candidate voxels, 120 MB for a volume of 320
cubed; running totals by slice draw from the same distribution out of 5 kB.

Runs in: worker (pure).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobs.vesuvius.catalogue import Shape
from jobs.vesuvius.volumes import SURFACE, UNLABELLED, LoadedVolume


def draw_corner(
    volume: LoadedVolume, patch_size: int, foreground_share: float, rng: np.random.Generator
) -> Shape:
    """Return the lowest corner of a patch that holds at least one labelled voxel.

    The centre is a surface voxel with probability `foreground_share`, else any labelled one, each
    evenly among its kind; a volume without surface gives labelled ones. At the rim the patch is
    moved inside, its centre voxel stays in it.
    """
    wants_surface = rng.random() < foreground_share and volume.surface_by_slice[-1] > 0
    centre = _draw_voxel(volume, surface=wants_surface, rng=rng)
    d, h, w = (
        min(max(at - patch_size // 2, 0), size - patch_size)
        for at, size in zip(centre, volume.label.shape, strict=True)
    )
    return d, h, w


def _draw_voxel(volume: LoadedVolume, *, surface: bool, rng: np.random.Generator) -> Shape:
    totals = volume.surface_by_slice if surface else volume.labelled_by_slice
    nth = int(rng.integers(totals[-1]))
    depth = int(np.searchsorted(totals, nth, side="right"))
    before = int(totals[depth - 1]) if depth else 0
    part = volume.label[depth]
    flat = np.flatnonzero(part == SURFACE if surface else part < UNLABELLED)[nth - before]
    row, column = np.unravel_index(flat, part.shape)
    return depth, int(row), int(column)


def densest_corner(label: npt.NDArray[np.uint8], sides: Shape) -> Shape:
    """Return the lowest corner of the window of `sides` voxels with most surface in it.

    Windows lie on a grid of half their side, the last one flush with the end; the first wins a tie.
    """
    totals = np.zeros(tuple(size + 1 for size in label.shape), dtype=np.int64)
    totals[1:, 1:, 1:] = (label == SURFACE).cumsum(0).cumsum(1).cumsum(2)
    starts = [_grid(size, side) for size, side in zip(label.shape, sides, strict=True)]
    corners = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 3)
    count = np.zeros(len(corners), dtype=np.int64)
    for upper in np.ndindex(2, 2, 2):
        at = corners + np.array(upper) * np.array(sides)
        sign = 1 if sum(upper) % 2 else -1  # inclusion-exclusion over the eight corners
        count += sign * totals[at[:, 0], at[:, 1], at[:, 2]]
    d, h, w = (int(at) for at in corners[int(np.argmax(count))])
    return d, h, w


def _grid(size: int, side: int) -> list[int]:
    last = size - side
    return sorted({*range(0, last + 1, max(1, side // 2)), last})
