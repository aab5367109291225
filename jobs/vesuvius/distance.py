"""The signed distance map of a label patch, which the boundary loss weighs voxels with.

It is computed with the sample and not in the loss, because the transform runs on the CPU: in the
loss it would make a GPU wait at every step.

Runs in: worker (pure).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from jobs.vesuvius.volumes import SURFACE

Distances = npt.NDArray[np.float64]


def signed_distance(label: npt.NDArray[np.uint8], clip: float) -> npt.NDArray[np.float32]:
    """Return the distance of each voxel to the faces of the surface, negative inside, in [-1, 1].

    One is `clip` voxels. The face lies halfway between two voxels, so a sheet two voxels thick is
    -0.5 / clip throughout. A patch with no surface, or nothing else, has no face: all zero.
    Unlabelled voxels count as not surface here and are masked in the loss.

    MONAI's `BoundaryLoss.compute_distance_map` is not used: it puts the face *on* the outermost
    surface voxels, so that on a sheet of two voxels it is zero and asks for no surface at all.

    Source: Kervadec et al. 2019, Boundary loss for highly unbalanced segmentation, section 2.
    """
    inside = label == SURFACE
    if not inside.any() or inside.all():
        return np.zeros(label.shape, dtype=np.float32)
    to_surface: Distances = distance_transform_edt(~inside)
    to_outside: Distances = distance_transform_edt(inside)
    signed = np.where(inside, 0.5 - to_outside, to_surface - 0.5) / clip
    return np.clip(signed, -1.0, 1.0).astype(np.float32)
