"""Whether an image holds structure or noise: how alike neighbours are, how even its spectrum is.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

#: Fewer neighbouring pairs than this tell nothing.
LEAST_PIXELS = 64


def neighbour_correlation(channel: Floats) -> float | None:
    """Return the correlation of each value with the next along an axis, the highest of the axes.

    White noise of n values has 0 give or take 1 / sqrt(n); an image of a scene is above 0.5.
    None: too small or constant. `channel` has spatial axes only.
    """
    found = [_along(channel.astype(np.float64), axis) for axis in range(channel.ndim)]
    known = [value for value in found if value is not None]
    return max(known) if known else None


def _along(values: Floats, axis: int) -> float | None:
    length = values.shape[axis]
    if length < 2 or values.size < LEAST_PIXELS:
        return None
    one = np.take(values, range(length - 1), axis=axis).ravel()
    other = np.take(values, range(1, length), axis=axis).ravel()
    if one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def spectral_flatness(channel: Floats) -> float:
    """Return geometric over arithmetic mean of the power spectrum without its mean.

    White noise has exp(-Euler's constant) = 0.56, since its powers are exponentially distributed;
    images, whose power falls with frequency, stay under 0.1.
    Source: Johnston 1988, Transform coding of audio signals using perceptual noise criteria.
    """
    power = np.abs(np.fft.rfftn(channel.astype(np.float64))).ravel()[1:] ** 2
    power = power[power > 0]
    if power.size == 0:
        return 0.0
    return float(np.exp(np.log(power).mean()) / power.mean())
