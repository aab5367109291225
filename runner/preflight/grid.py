"""Coordinate grids sent through an augmentation, to see whether it moves both halves of a pair.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


def ramp(shape: tuple[int, ...], axis: int, dtype: np.dtype[np.generic]) -> Array:
    """Return a CHW or CDHW array whose value is the position along spatial `axis`, all channels.

    From 0.05 to 0.95, or 5 to 95 for whole numbers, so that changes of contrast keep the order.
    """
    length = shape[1 + axis]
    line = np.linspace(0.05, 0.95, length)
    if not np.issubdtype(dtype, np.floating):
        line = np.round(100 * line)
    along = line.reshape([-1 if place == axis else 1 for place in range(len(shape) - 1)])
    return np.ascontiguousarray(np.broadcast_to(along[None], shape).astype(dtype))


def agreement(image: Array, target: Array) -> float:
    """Return the correlation of two warped grids, compared at the smaller one's resolution.

    1: moved alike; -1: one of them mirrored along the axis; 0: turned against each other.
    """
    one, other = image.astype(np.float64).mean(axis=0), target.astype(np.float64).mean(axis=0)
    shape = tuple(min(a, b) for a, b in zip(one.shape, other.shape, strict=True))
    one, other = _resized(one, shape).ravel(), _resized(other, shape).ravel()
    keep = np.isfinite(one) & np.isfinite(other)
    one, other = one[keep], other[keep]
    if one.size < 2:
        return 0.0
    if one.std() == 0 or other.std() == 0:
        # A crop can leave a ramp flat in both; in one alone they are no longer alike.
        return 1.0 if one.std() == other.std() else 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _resized(field: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return the field at cell centres of a coarser grid, by its nearest values."""
    for axis, (length, wanted) in enumerate(zip(field.shape, shape, strict=True)):
        if length != wanted:
            at = ((np.arange(wanted) + 0.5) * length / wanted).astype(int)
            field = np.take(field, at, axis=axis)
    return field
