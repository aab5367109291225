"""A data set of drawn pets in the real set's layout, for runs without a data folder.

A pet is a body, a head and two ears before blurred spots. Its breed says the coat's colour, the
form of the ears and whether it is striped; breeds of even number are cats, the others dogs.

Runs in: driver, worker (writes files).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from jobs.adaptivestream.catalogue import ANNOTATIONS, IMAGES, LIST, TRIMAPS
from jobs.adaptivestream.config import GeneratedConfig
from jobs.adaptivestream.data import BACKGROUND, BORDER, PET
from jobs.shared import generated

#: Part of the fingerprint; raise it when the same parameters would give other pictures.
VERSION = 1
NAMES = ("Amber", "basset", "Cinder", "dachs", "Ebony", "foxhound")
#: Chosen: coats of about the same brightness as the spots behind, so that colour alone is no mask.
COATS = (
    (196, 148, 84),
    (120, 84, 60),
    (150, 150, 160),
    (206, 190, 166),
    (70, 66, 72),
    (170, 96, 52),
)
#: Pixels of the border between pet and background, as thin as the real trimaps' at this size.
BORDER_PIXELS = 5

Point = tuple[float, float]


def ensure_generated(config: GeneratedConfig, cache_dir: Path) -> Path:
    """Return the folder of the data set, written first when it is not there.

    Raises:
        DataError: the folder cannot be written.
    """
    target = generated.generated_folder("adaptivestream", VERSION, config, cache_dir)
    return generated.ensure_written(target, lambda folder: _write_set(folder, config))


def _write_set(folder: Path, config: GeneratedConfig) -> None:
    for name in (IMAGES, TRIMAPS):
        (folder / name).mkdir(parents=True)
    rows = []
    for index in range(config.photos):
        breed = index % config.breeds
        name = f"{NAMES[breed]}_{index // config.breeds + 1}"
        rng = np.random.default_rng([config.seed, index])
        image, trimap = draw_pet(breed, config.side, rng)
        image.save(folder / IMAGES / f"{name}.jpg", quality=90)
        trimap.save(folder / TRIMAPS / f"{name}.png")
        rows.append(f"{name} {breed + 1} {breed % 2 + 1} {breed // 2 + 1}")
    (folder / ANNOTATIONS / LIST).write_text("\n".join(rows) + "\n", encoding="utf-8")


def draw_pet(breed: int, side: int, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """Return a photograph and its trimap."""
    width, height = side * 4 // 3, side
    mask = Image.new("L", (width, height))
    _draw_outline(ImageDraw.Draw(mask), breed, width, height, rng)
    coat = _coat(breed, width, height, rng)
    image = Image.composite(coat, _spots(width, height, rng), mask)
    image = image.filter(ImageFilter.GaussianBlur(0.8))
    noise = rng.normal(0, 8, (height, width, 3))
    noisy = np.clip(np.asarray(image, np.float64) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(noisy), _trimap(mask)


def _draw_outline(
    draw: ImageDraw.ImageDraw, breed: int, width: int, height: int, rng: np.random.Generator
) -> None:
    """Draw body, head and ears in white."""
    size = height * rng.uniform(0.2, 0.34)
    x, y = width * rng.uniform(0.35, 0.65), height * rng.uniform(0.5, 0.7)
    lean = rng.choice([-1.0, 1.0])
    head_x, head_y, head = x + lean * size * 0.95, y - size * 0.75, size * 0.55
    draw.ellipse((x - size * 1.2, y - size * 0.7, x + size * 1.2, y + size * 0.8), fill=255)
    draw.ellipse((head_x - head, head_y - head, head_x + head, head_y + head), fill=255)
    for side in (-1.0, 1.0):
        tilt = side * rng.uniform(0.4, 0.7)
        root = (head_x + head * math.sin(tilt), head_y - head * math.cos(tilt))
        if breed % 2 == 0:  # pointed
            tip = (root[0] + side * head * 0.3, root[1] - head * 0.9)
            draw.polygon([_beside(root, -head * 0.4), tip, _beside(root, head * 0.4)], fill=255)
        else:  # hanging
            ear_x, ear_y = root[0] + side * head * 0.35, root[1] + head * 0.5
            draw.ellipse(
                (ear_x - head * 0.3, ear_y - head, ear_x + head * 0.3, ear_y + head), fill=255
            )


def _beside(point: Point, distance: float) -> Point:
    return point[0] + distance, point[1] + abs(distance) * 0.4


def _coat(breed: int, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Return the breed's colour with its stripes, in the light of this photograph."""
    light = rng.uniform(0.8, 1.15)
    colour = np.array(COATS[breed], np.float64) * light
    across = np.arange(width)[None, :, None] + 0.4 * np.arange(height)[:, None, None]
    is_striped = breed in {0, 2, 5}
    stripes = 1 - 0.25 * (np.sin(across / rng.uniform(2.5, 4.0)) > 0.3) * is_striped
    return Image.fromarray(np.clip(colour * stripes, 0, 255).astype(np.uint8))


def _spots(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Return a background of large blurred spots of any colour."""
    small = rng.integers(30, 226, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def _trimap(mask: Image.Image) -> Image.Image:
    inner, outer = (
        np.asarray(mask.filter(grow(BORDER_PIXELS))) > 127
        for grow in (ImageFilter.MinFilter, ImageFilter.MaxFilter)
    )
    values = np.where(inner, PET, np.where(outer, BORDER, BACKGROUND))
    return Image.fromarray(values.astype(np.uint8))
