"""How good a segmentation is: Dice and surface Dice over labelled voxels.

Runs in: worker (pure).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, distance_transform_edt

from jobs.vesuvius.volumes import SURFACE, UNLABELLED, Voxels

Mask = npt.NDArray[np.bool_]


def dice(predicted: Mask, label: Voxels) -> float | None:
    """Return the Dice of a prediction over labelled voxels; None: no surface in either."""
    truth = label == SURFACE
    both = np.count_nonzero(predicted & truth)
    total = np.count_nonzero(predicted & (label != UNLABELLED)) + np.count_nonzero(truth)
    return float(2 * both / total) if total else None


def surface_dice(predicted: Mask, label: Voxels, tolerance: float) -> float | None:
    """Return the share of both outlines that lies within `tolerance` voxels of the other; DHW.

    Unlabelled voxels are background in prediction and truth before the outlines are taken: where
    a sheet meets the mask both are cut alike, and the cut edge counts as outline of both.
    None: no surface in either; 0: in one alone.

    MONAI's `compute_surface_dice` gives the same number (a test says so) by nearest-neighbour
    search, which takes 1.3 s on a crop of 96 cubed where two distance transforms take 0.2 s.

    Source: Nikolov et al. 2018, arXiv:1809.04430, in the voxel form of Seidlitz et al. 2022,
    arXiv:2111.05408.
    """
    outlines = _outline(predicted & (label != UNLABELLED)), _outline(label == SURFACE)
    sizes = [np.count_nonzero(outline) for outline in outlines]
    if not all(sizes):
        return 0.0 if any(sizes) else None
    near = _near(outlines[0], outlines[1], tolerance) + _near(outlines[1], outlines[0], tolerance)
    return float(near / sum(sizes))


def best_constant_dice(label: Voxels) -> float | None:
    """Return the Dice of calling every voxel surface; calling none surface scores 0."""
    return dice(np.ones_like(label, dtype=np.bool_), label)


def _outline(mask: Mask) -> Mask:
    """Return the voxels of the mask that have a face outside it; the volume ends outside."""
    inner: Mask = binary_erosion(mask)
    return np.logical_and(mask, ~inner)


def _near(these: Mask, those: Mask, tolerance: float) -> int:
    """Return how many voxels of one outline have one of the other within the tolerance."""
    return int(np.count_nonzero(distance_transform_edt(~those)[these] <= tolerance))
