"""A data set of drawn waste in the real set's layout, for runs without a data folder.

A class is a form and a colour: six forms times five colours are the thirty. `default` shows it on a
plain ground, `real_world` among clutter.

Runs in: driver, worker (writes files).
"""

from __future__ import annotations

import colorsys
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from jobs.shared import generated
from jobs.sustainability.catalogue import CLASSES, SETTINGS
from jobs.sustainability.config import GeneratedConfig

#: Part of the fingerprint; raise it when the same parameters would give other pictures.
VERSION = 2
HUES = (0.02, 0.14, 0.36, 0.58, 0.8)
#: Corners of each form, and every second one's distance from the centre; 0 corners: an ellipse.
FORMS = ((3, 1.0), (4, 1.0), (0, 1.0), (10, 0.45), (6, 0.75), (0, 0.4))
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
    form, hue = label % len(FORMS), HUES[label // len(FORMS)]
    colour = colorsys.hsv_to_rgb(
        (hue + rng.normal(0, 0.012)) % 1, rng.uniform(0.55, 0.85), rng.uniform(0.5, 0.9)
    )
    fill = tuple(int(255 * part) for part in colour)
    draw.polygon(_outline(form, side, rng), fill=fill)
    image = image.filter(ImageFilter.GaussianBlur(1.0))
    noise = 6 * rng.standard_normal((side, side, 3), dtype=np.float32)
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _outline(form: int, side: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    corners, depth = FORMS[form]
    radius, turn = side * rng.uniform(0.14, 0.24), rng.uniform(0, 2 * math.pi)
    x, y = rng.uniform(radius, side - radius, 2)
    points = []
    for place in range(corners or 48):
        angle = 2 * math.pi * place / (corners or 48)
        reach = radius * (depth if corners and place % 2 else 1.0)
        along, across = reach * math.cos(angle), reach * math.sin(angle)
        if not corners:
            across *= depth
        points.append(
            (
                x + along * math.cos(turn) - across * math.sin(turn),
                y + along * math.sin(turn) + across * math.cos(turn),
            )
        )
    return points
