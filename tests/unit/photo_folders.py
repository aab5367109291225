"""Builds small folders of photographs in the layouts of the two photograph jobs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from jobs.adaptivestream import config as pets
from jobs.sustainability import config as waste
from jobs.sustainability.catalogue import CLASSES

SIDE = 32


def small_pets(**task: object) -> pets.Config:
    """Return settings for a tiny model on the folder below."""
    defaults = {"side": SIDE, "model": {"channels": [4, 4, 8, 8, 8]}}
    return pets.Config.model_validate(defaults | task)


def small_waste(**task: object) -> waste.Config:
    """Return settings for a tiny model on the folder below."""
    defaults = {"side": SIDE, "model": {"side": SIDE, "channels": [4, 8]}}
    return waste.Config.model_validate(defaults | task)


def write_pets(folder: Path, count: int = 8) -> Path:
    """Write photographs whose left half is the pet, of breeds 1 to 4 in turn; return the folder."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations/trimaps").mkdir(parents=True)
    rows = ["# name breed species number"]
    for index in range(count):
        breed = index % 4
        name = f"Breed{breed}_{index}"
        trimap = np.full((30, 40), 2, np.uint8)
        trimap[:, :20], trimap[:, 20:22] = 1, 3
        light = 40 + 20 * breed
        colour = np.where(trimap == 1, 200, light).astype(np.uint8)
        Image.fromarray(np.stack([colour] * 3, axis=-1)).save(folder / f"images/{name}.jpg")
        Image.fromarray(trimap).save(folder / f"annotations/trimaps/{name}.png")
        rows.append(f"{name} {breed + 1} {breed % 2 + 1} 1")
    (folder / "annotations/list.txt").write_text("\n".join(rows) + "\n")
    return folder


def write_waste(folder: Path, classes: int = 3, photos: int = 4, *, nested: bool = True) -> Path:
    """Write photographs of one grey a class in both settings; return the folder."""
    root = folder / "images" / "images" if nested else folder / "images"
    for label, name in enumerate(CLASSES[:classes]):
        for setting in ("default", "real_world"):
            (root / name / setting).mkdir(parents=True)
            for number in range(1, photos + 1):
                write_grey(root / name / setting / f"Image_{number}.png", 60 * label + number)
    return folder


def write_grey(path: Path, grey: int) -> None:
    """Write a picture of one grey."""
    Image.fromarray(np.full((40, 40, 3), grey, np.uint8)).save(path)


def cut_off(path: Path, keep_bytes: int = 60) -> None:
    """Cut a file short."""
    path.write_bytes(path.read_bytes()[:keep_bytes])
