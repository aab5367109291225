"""A data set of drawn waste in the real set's layout, for runs without a data folder.

A class is a pattern and a colour: six patterns times five colours are the thirty, on a piece of any
form. `default` shows it on a plain ground, `real_world` among clutter. A form for a class was not
told apart after 400 steps on so few pictures; colours and patterns are.

Runs in: driver, worker (writes files).
"""

from __future__ import annotations

import colorsys
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from jobs.shared import generated
from jobs.sustainability.catalogue import CLASSES, SETTINGS
from jobs.sustainability.config import GeneratedConfig

#: Part of the fingerprint; raise it when the same parameters would give other pictures.
VERSION = 4
HUES = (0.02, 0.14, 0.36, 0.58, 0.8)
PATTERNS = 6
#: Bytes of a cut-off file: the header is whole, the picture is not.
CUT_BYTES = 300


def ensure_generated(config: GeneratedConfig, cache_dir: Path) -> Path:
    """Return the folder of the data set, written first when it is not there.

    Raises:
        DataError: the folder cannot be written.
    """
    target = generated.generated_folder("sustainability", VERSION, config, cache_dir)
    return generated.ensure_written(target, lambda folder: _write_set(folder, config))


def photos_of_class(label: int, config: GeneratedConfig) -> int:
    """Return the number of photographs of a class in each setting."""
    share: float = config.imbalance ** (-label / (len(CLASSES) - 1))
    return max(1, round(config.photos_per_class / len(SETTINGS) * share))


def _write_set(folder: Path, config: GeneratedConfig) -> None:
    paths: list[Path] = []
    for label, name in enumerate(CLASSES):
        for place, setting in enumerate(SETTINGS):
            home = folder / "images" / "images" / name / setting
            home.mkdir(parents=True)
            for number in range(1, photos_of_class(label, config) + 1):
                rng = np.random.default_rng([config.seed, label, place, number])
                path = home / f"Image_{number}.png"
                image = draw_waste(label, config.side, rng, is_cluttered=bool(place))
                image.save(path, compress_level=1)
                paths.append(path)
    _cut_off(paths, config)


def _cut_off(paths: list[Path], config: GeneratedConfig) -> None:
    """Cut a share of the files short, as an interrupted download does."""
    count = round(config.corrupt_share * len(paths))
    for place in np.random.default_rng([config.seed, 1]).permutation(len(paths))[:count]:
        content = paths[place].read_bytes()
        paths[place].write_bytes(content[:CUT_BYTES])


def draw_waste(
    label: int, side: int, rng: np.random.Generator, *, is_cluttered: bool
) -> Image.Image:
    """Return a photograph of a class."""
    ground = int(rng.integers(150, 235))
    image = Image.new("RGB", (side, side), (ground, ground, ground))
    draw = ImageDraw.Draw(image)
    if is_cluttered:
        for _ in range(14):
            x, y, size = side * rng.uniform((0, 0, 0.06), (1, 1, 0.2))
            grey = tuple(int(v) for v in rng.integers(90, 190) + rng.integers(-12, 13, 3))
            draw.ellipse((x - size, y - size * 0.7, x + size, y + size * 0.7), fill=grey)
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).polygon(_outline(side, rng), fill=255)
    hue = HUES[label // PATTERNS] + rng.normal(0, 0.012)
    colour = colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.55, 0.85), rng.uniform(0.6, 0.95))
    shade = 1 - 0.6 * _pattern(label % PATTERNS, side, rng)
    coat = (255 * shade[..., None] * np.array(colour)).astype(np.uint8)
    image.paste(Image.fromarray(coat), mask=mask)
    image = image.filter(ImageFilter.GaussianBlur(1.0))
    noise = 6 * rng.standard_normal((side, side, 3), dtype=np.float32)
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _pattern(pattern: int, side: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return where the pattern is dark (1), at any angle: (S, S)."""
    turn, period = rng.uniform(0, math.pi), side * rng.uniform(0.055, 0.07)
    y, x = np.mgrid[:side, :side] * 2 * math.pi / period
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    dark: npt.NDArray[np.float64] = (
        np.zeros_like(u),  # plain
        np.sin(u),  # stripes
        np.sin(u / 2.5),  # broad stripes
        np.sin(u) * np.sin(v) - 0.3,  # dots
        np.sin(u / 2) * np.sin(v / 2),  # checks
        np.maximum(np.sin(u), np.sin(v)) - 0.8,  # a grid
    )[pattern]
    return np.asarray(dark > 0, np.float64)


def _outline(side: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Return the corners of a piece of any form."""
    radius, corners = side * rng.uniform(0.22, 0.34), int(rng.integers(5, 12))
    x, y = rng.uniform(radius, side - radius, 2)
    angles = 2 * math.pi * (np.arange(corners) + rng.uniform(-0.4, 0.4, corners)) / corners
    reach = radius * rng.uniform(0.6, 1.0, corners)
    return [
        (float(x + r * math.cos(angle)), float(y + r * math.sin(angle)))
        for r, angle in zip(reach, angles, strict=True)
    ]
