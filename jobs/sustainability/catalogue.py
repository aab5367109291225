"""What lies in a folder of the Kaggle layout: thirty classes of waste, each in two settings.

    images/images/<class>/{default,real_world}/Image_<n>.png     (a single images/ is also met)

The number of classes is thirty whatever folders are there: a model made for nineteen could not be
told from one that has forgotten eleven.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.shared.census import first_few, spread
from jobs.sustainability.config import ValidationConfig
from watchdog.errors import DataError

CLASSES = (
    "aerosol_cans",
    "aluminum_food_cans",
    "aluminum_soda_cans",
    "cardboard_boxes",
    "cardboard_packaging",
    "clothing",
    "coffee_grounds",
    "disposable_plastic_cutlery",
    "eggshells",
    "food_waste",
    "glass_beverage_bottles",
    "glass_cosmetic_containers",
    "glass_food_jars",
    "magazines",
    "newspaper",
    "office_paper",
    "paper_cups",
    "plastic_cup_lids",
    "plastic_detergent_bottles",
    "plastic_food_containers",
    "plastic_shopping_bags",
    "plastic_soda_bottles",
    "plastic_straws",
    "plastic_trash_bags",
    "plastic_water_bottles",
    "shoes",
    "steel_food_cans",
    "styrofoam_cups",
    "styrofoam_food_containers",
    "tea_bags",
)
SETTINGS = ("default", "real_world")
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph, its class (0 to 29) and the setting it was taken in."""

    path: Path
    label: int
    setting: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The photographs of a folder, in the order of class, setting and name."""

    folder: Path
    photos: tuple[Photo, ...]

    @property
    def absent(self) -> tuple[str, ...]:
        """Return the classes without a photograph."""
        found = {photo.label for photo in self.photos}
        return tuple(name for place, name in enumerate(CLASSES) if place not in found)


def read_catalogue(folder: Path) -> Catalogue:
    """Return the photographs of `folder`, none of them opened.

    Raises:
        DataError: there is no folder of classes, one of them is none of the thirty, a class has
            another folder than the two settings, or nothing is left.
    """
    root = _root(folder)
    photos: list[Photo] = []
    for path in _folders(root):
        if path.name not in CLASSES:
            near = difflib.get_close_matches(path.name, CLASSES, n=1)
            offer = f"; did you mean {near[0]}?" if near else ""
            raise DataError(
                f"{path} is none of the {len(CLASSES)} classes{offer}; a photograph in it would "
                f"have no label; rename or remove the folder, or check data.path={folder}"
            )
        photos.extend(_photos_of(path, folder))
    if not photos:
        raise DataError(
            f"no photograph in the class folders of {root}: no .png or .jpg in their "
            f"{' or '.join(SETTINGS)}; the archive is probably unpacked in part; check "
            f"data.path={folder}"
        )
    return Catalogue(folder, tuple(photos))


def _root(folder: Path) -> Path:
    """Return the folder that holds the class folders."""
    for root in (folder / "images" / "images", folder / "images", folder):
        if root.is_dir() and any(path.name in CLASSES for path in _folders(root)):
            return root
    held = [path.name for path in _folders(folder)] if folder.is_dir() else []
    raise DataError(
        f"no class folder such as {CLASSES[0]} in {folder}/images/images, {folder}/images or "
        f"{folder} itself, which holds {first_few(held) or 'no folder'}; this is probably not the "
        f"root of the set; check data.path={folder}"
    )


def _photos_of(path: Path, folder: Path) -> list[Photo]:
    label = CLASSES.index(path.name)
    found: list[Photo] = []
    for setting in _folders(path):
        if setting.name not in SETTINGS:
            raise DataError(
                f"{setting} is neither default nor real_world; the photographs in it are probably "
                f"of another release; rename or remove the folder, or check data.path={folder}"
            )
        found.extend(
            Photo(file, label, setting.name)
            for file in sorted(setting.iterdir(), key=_by_number)
            if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
        )
    return found


def _by_number(path: Path) -> tuple[int, str]:
    """Order Image_2 before Image_10."""
    number = path.stem.rpartition("_")[2]
    return (int(number) if number.isdecimal() else 0, path.name)


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


@dataclass(frozen=True, slots=True)
class Split:
    """The photographs to train on and those held out."""

    train: tuple[Photo, ...]
    validation: tuple[Photo, ...]


def split_photos(photos: Sequence[Photo], config: ValidationConfig) -> Split:
    """Return the same share of each class and setting held out, always the same photographs.

    A class of a single photograph is trained on and not scored.

    Raises:
        DataError: nothing is held out.
    """
    groups: dict[tuple[int, str], list[Photo]] = {}
    for photo in photos:
        groups.setdefault((photo.label, photo.setting), []).append(photo)
    held: set[Path] = set()
    for group in groups.values():
        count = min(len(group) - 1, max(1, round(config.share * len(group))))
        held.update(group[int(place)].path for place in spread(len(group), count) if count > 0)
    train = tuple(photo for photo in photos if photo.path not in held)
    validation = tuple(photo for photo in photos if photo.path in held)
    if not validation:
        raise DataError(
            f"{len(photos)} photographs in {len(groups)} classes and settings leave none to "
            f"validate with: no class has two; the folder is too small; check data.path"
        )
    return Split(train, validation)
