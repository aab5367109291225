"""One made-up core: nuclei of several types, their H&E and their fluorescence, in register.

H&E follows Beer and Lambert: 255 x 10^-(H W_h + 0.55 E W_e), with the absorptions of haematoxylin
and eosin by colour. Marker c of a cell is its type's profile times a mask: nucleus, rim or body.

Source of the absorptions: Ruifrok and Johnston 2001, Quantification of histochemical staining by
colour deconvolution, table 1.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from jobs.orion.config import GeneratedConfig

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

_HAEMATOXYLIN = np.array([0.650, 0.704, 0.286])
_EOSIN = np.array([0.072, 0.990, 0.105])
_EOSIN_SHARE = 0.55
#: Chosen: a body is this many nuclear radii, a rim the outer part of it.
_BODY, _RIM = 1.6, 1.35
_AREA = 224.0**2


def tissue(config: GeneratedConfig, channels: int, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    """Return H&E (side, side, 3) and fluorescence (side, side, channels), both uint8."""
    profile = _profiles(config.types, channels, config.seed)
    # Masks of nuclei, rims and bodies, weighted by the profile of each cell's type.
    shape = (config.side, config.side)
    stain_h, stain_e = np.zeros(shape), 0.25 + 0.15 * _smooth(shape, 20, rng)
    markers = np.zeros((*shape, channels))
    kind_of = _smooth(shape, config.side / 8, rng)
    parts = np.arange(channels) % 3
    for _ in range(round(config.cells * config.side**2 / _AREA)):
        centre = rng.uniform(0, config.side, 2)
        window, distance = _ellipse(centre, config, rng)
        if distance.size == 0:
            continue
        at = kind_of[tuple(np.minimum(centre.astype(int), config.side - 1))]
        kind = int(np.clip(at * config.types, 0, config.types - 1))
        masks = (
            distance < 1,
            (distance > _RIM) & (distance < _BODY),
            (distance > 1) & (distance < _BODY),
        )
        depth = rng.uniform(0.5, 0.9) + 0.25 * kind / config.types
        stain_h[window] = np.where(masks[0], depth, stain_h[window])
        stain_e[window] = np.where(masks[2], 0.5 + 0.4 * kind / config.types, stain_e[window])
        for part in range(3):
            chosen = parts == part
            seen = masks[part][..., None] * profile[kind, chosen]
            markers[window][..., chosen] = np.maximum(markers[window][..., chosen], seen)
    return _as_stain(stain_h, stain_e, rng), _as_fluorescence(markers, config.photons, rng)


def _profiles(types: int, channels: int, seed: int) -> Floats:
    """Return how bright each marker is in each type; the same in all cores."""
    rng = np.random.default_rng([seed, 2**20])
    return np.where(
        rng.random((types, channels)) < 0.4, rng.uniform(0.5, 1.0, (types, channels)), 0.05
    )


def _smooth(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> Floats:
    """Return a smooth field, evenly spread over [0, 1]."""
    field: Floats = gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
    ranks: Floats = field.ravel().argsort().argsort().reshape(shape) / field.size
    return ranks


def _ellipse(
    centre: Floats, config: GeneratedConfig, rng: np.random.Generator
) -> tuple[tuple[slice, slice], Floats]:
    """Return a window about a nucleus, and how far its pixels lie out, in nuclear radii."""
    radii = rng.uniform(config.least_radius, config.greatest_radius, 2)
    bearing = rng.uniform(0, np.pi)
    reach = int(np.ceil(_BODY * radii.max())) + 1
    low = [max(0, int(c) - reach) for c in centre]
    high = [min(config.side, int(c) + reach + 1) for c in centre]
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]].astype(float)
    dy, dx = y - centre[0], x - centre[1]
    along, across = (
        dy * np.sin(bearing) + dx * np.cos(bearing),
        dy * np.cos(bearing) - dx * np.sin(bearing),
    )
    window = slice(low[0], high[0]), slice(low[1], high[1])
    distance: Floats = np.hypot(along / radii[0], across / radii[1])
    return window, distance


def _as_stain(h: Floats, e: Floats, rng: np.random.Generator) -> Bytes:
    h, e = gaussian_filter(h, 1.0), gaussian_filter(e, 1.0)
    density = h[..., None] * _HAEMATOXYLIN + _EOSIN_SHARE * e[..., None] * _EOSIN
    grey = 255 * 10**-density + rng.normal(0.0, 2.0, density.shape)
    return _as_bytes(grey)


def _as_fluorescence(markers: Floats, photons: float, rng: np.random.Generator) -> Bytes:
    blurred = gaussian_filter(markers, (1.0, 1.0, 0.0))
    counted = rng.poisson(np.maximum(blurred, 0) * photons) / photons
    return _as_bytes(200 * counted)


def _as_bytes(grey: Floats) -> Bytes:
    rounded: Floats = np.clip(np.rint(grey), 0, 255)
    return rounded.astype(np.uint8)
