"""One made-up Sentinel-2 patch: fields with sharp borders, roads, rows of plants, sensor noise.

It is drawn at 5 m and averaged to the 10, 20 and 60 m of the bands, as a sensor would: so there is
detail in the fine bands that their averages have lost and that borders and lines give away.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from jobs.bigearthnet.catalogue import SIDES
from jobs.bigearthnet.config import GeneratedConfig

Floats = npt.NDArray[np.float64]

#: Pixels of a patch as it is drawn: 1200 m at 5 m.
_SIDE = 240
_BANDS = tuple(sorted(SIDES))
#: Mean counts (reflectance x 10000) of each ground, in the order of `_BANDS`: B01 to B09, B11, B12
#: and B8A. Chosen: typical level-2A values of the ground, rounded.
_GROUNDS = {
    "water": (480, 430, 380, 260, 230, 190, 170, 150, 130, 90, 70, 140),
    "forest": (210, 230, 400, 260, 680, 2000, 2500, 2600, 2700, 1250, 560, 2750),
    "crop": (300, 380, 700, 420, 1050, 3200, 4100, 4300, 4400, 2000, 1000, 4450),
    "grass": (330, 420, 760, 620, 1150, 2400, 2800, 2950, 3050, 2200, 1300, 3150),
    "soil": (620, 780, 1100, 1450, 1750, 1950, 2150, 2300, 2400, 3100, 2600, 2500),
    "built": (900, 1150, 1350, 1500, 1650, 1800, 1900, 2050, 2100, 2300, 2050, 2100),
}
_ROAD = np.array((850, 1000, 1150, 1250, 1350, 1450, 1500, 1600, 1650, 1800, 1600, 1650), float)


def landscape(
    config: GeneratedConfig, rng: np.random.Generator
) -> Mapping[str, npt.NDArray[np.uint16]]:
    """Return the counts of all twelve bands, each at its own size."""
    colours = np.array(list(_GROUNDS.values()), float)
    field = _fields(config.fields, rng)
    ground = rng.integers(len(colours), size=config.fields)
    brightness = rng.normal(1.0, 0.1, size=(config.fields, 1))
    scene = (colours[ground] * brightness)[field]
    scene *= _texture(field, config.fields, rng)[..., None]
    for _ in range(int(rng.integers(1, 4))):
        scene[_line(rng)] = _ROAD
    scene *= config.brightness
    return {
        band: _as_seen(scene[..., place], SIDES[band], config.noise, rng)
        for place, band in enumerate(_BANDS)
    }


def _fields(count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return which field each pixel belongs to: the nearest of random sites, a little crooked."""
    sites = rng.uniform(0, _SIDE, size=(count, 2))
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(float)
    bend = [6 * gaussian_filter(rng.normal(size=(_SIDE, _SIDE)), 12) * 12 for _ in range(2)]
    distance = np.hypot(
        (y + bend[0])[..., None] - sites[:, 0], (x + bend[1])[..., None] - sites[:, 1]
    )
    nearest: npt.NDArray[np.int64] = distance.argmin(axis=-1)
    return nearest


def _texture(field: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> Floats:
    """Return factors about 1: clumps everywhere, rows in two fields of three."""
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(float)
    bearing, pitch = rng.uniform(0, np.pi, count), rng.uniform(9, 24, count)
    depth = rng.uniform(0.02, 0.12, count) * (rng.random(count) < 0.66)
    across = (y * np.sin(bearing)[field] + x * np.cos(bearing)[field]) / pitch[field]
    clumps: Floats = gaussian_filter(rng.normal(size=(_SIDE, _SIDE)), 2) * 0.25
    rows: Floats = depth[field] * np.sign(np.sin(2 * np.pi * across))
    return 1 + rows + clumps


def _line(rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return the pixels of a straight road, 10 to 20 m wide."""
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(float)
    bearing, at = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8, 2) * _SIDE
    away = np.abs((y - at[0]) * np.cos(bearing) - (x - at[1]) * np.sin(bearing))
    on_road: npt.NDArray[np.bool_] = away < rng.uniform(1, 2)
    return on_road


def _as_seen(
    scene: Floats, side: int, noise: float, rng: np.random.Generator
) -> npt.NDArray[np.uint16]:
    block = _SIDE // side
    seen = scene.reshape(side, block, side, block).mean(axis=(1, 3))
    noisy = seen + rng.normal(0.0, noise, seen.shape)
    counts: Floats = np.clip(np.rint(noisy), 1, 65535)
    return counts.astype(np.uint16)
