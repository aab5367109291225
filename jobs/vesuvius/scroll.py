"""One made-up volume of scroll CT: papyrus sheets rolled into a spiral, and their labels.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, map_coordinates

from jobs.vesuvius.catalogue import Shape
from jobs.vesuvius.config import GeneratedConfig
from jobs.vesuvius.volumes import BACKGROUND, SURFACE, UNLABELLED

Floats = npt.NDArray[np.float64]
Voxels = npt.NDArray[np.uint8]

#: Smoothness of the unlabelled blobs in voxels. Chosen: blobs a winding or two across, so that a
#: patch of 32 mostly sees both sides of the mask.
BLOB_SIGMA = 8.0


def scroll_volume(
    shape: Shape, config: GeneratedConfig, rng: np.random.Generator
) -> tuple[Voxels, Voxels]:
    """Return image and label of a block cut out of a scroll, both of `shape` (DHW).

    A sheet lies where r(theta, z) = r0 + pitch theta / 2 pi + amplitude n(theta, z), with n smooth
    noise of unit spread; label 1 is its inner face.
    """
    depth_in_sheet = _depth_in_sheet(shape, config, rng)
    across = 1 - 2 * depth_in_sheet / config.thickness  # from 1 at the inner face to -1
    papyrus = config.papyrus + config.grading * across
    grey = np.where(depth_in_sheet < config.thickness, papyrus, config.air)
    grey = gaussian_filter(grey, config.blur) + rng.normal(0.0, config.noise, shape)
    image = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    surface = depth_in_sheet < config.surface_thickness
    label = np.where(surface, np.uint8(SURFACE), np.uint8(BACKGROUND))
    label[_blobs(shape, config.unlabelled_share, rng)] = UNLABELLED
    return image, label


def _depth_in_sheet(shape: Shape, config: GeneratedConfig, rng: np.random.Generator) -> Floats:
    """Return how far each voxel lies outside the inner face of its winding, in [0, pitch) voxels.

    The scroll's axis runs along the depth, outside the block on a random side.
    """
    side = max(shape[1:])
    bearing, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.6) * side
    y = np.arange(shape[1]) - shape[1] / 2 - far * np.sin(bearing)
    x = np.arange(shape[2]) - shape[2] / 2 - far * np.cos(bearing)
    radius = np.hypot(y[:, None], x[None, :])
    theta = np.arctan2(y[:, None], x[None, :])
    crumple = config.amplitude * _crumpling(shape, far, theta, config.smoothness, rng)
    r0 = rng.uniform(0, config.pitch)
    # Where theta jumps by 2 pi the winding number jumps by one, which the remainder forgets.
    turned = config.pitch * theta / (2 * np.pi)
    depth: Floats = np.mod(radius - r0 - turned - crumple, config.pitch)
    return depth


def _crumpling(
    shape: Shape, radius: float, theta: Floats, sigma: float, rng: np.random.Generator
) -> Floats:
    """Return n(theta, z) at every voxel: one sample a voxel along the arc, periodic in theta."""
    around = max(8, round(2 * np.pi * radius))
    noise = gaussian_filter(rng.normal(size=(shape[0], around)), sigma, mode=("nearest", "wrap"))
    noise /= noise.std()
    arc = np.mod(theta / (2 * np.pi), 1.0) * around
    z = np.broadcast_to(np.arange(shape[0], dtype=float)[:, None, None], shape)
    at = np.stack([z, np.broadcast_to(arc, shape)])
    crumple: Floats = map_coordinates(noise, at, order=1, mode="grid-wrap")
    return crumple


def _blobs(shape: Shape, share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return the given share of the voxels, in blobs."""
    field = gaussian_filter(rng.normal(size=shape), BLOB_SIGMA)
    blobs: npt.NDArray[np.bool_] = field < np.quantile(field, share)
    return blobs
