"""What lies in a folder of the Oxford-IIIT Pet layout: photographs, trimaps, and the list of names.

    images/<Breed>_<n>.jpg          the photographs
    annotations/trimaps/<same>.png  1 pet, 2 background, 3 border
    annotations/list.txt            name, breed 1-37, species (1 cat, 2 dog), breed within species
    annotations/{trainval,test}.txt the official split, in the same form (optional)

Runs in: anywhere (reads files).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.shared.census import first_few
from watchdog.errors import DataError

IMAGES, ANNOTATIONS, TRIMAPS = "images", "annotations", "annotations/trimaps"
LIST, TRAIN_LIST, TEST_LIST = "list.txt", "trainval.txt", "test.txt"
BREEDS, SPECIES = 37, ("cat", "dog")


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph with its mask; `breed` counts from 0 to 36, `species` is 0 cat or 1 dog."""

    name: str
    image: Path
    trimap: Path
    breed: int
    species: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The photographs of a folder by name, what was left out, and the official split."""

    folder: Path
    photos: tuple[Photo, ...]
    #: Rows of the list without a photograph, and photographs without a row: the real set has both.
    without_image: tuple[str, ...]
    without_row: tuple[str, ...]
    #: Names of the official test set; None: the folder has no split.
    test_names: frozenset[str] | None


def read_catalogue(folder: Path) -> Catalogue:
    """Return the photographs of `folder` that have a row in the list and a trimap.

    Raises:
        DataError: a folder or the list is missing, a row cannot be read, a name is there twice or
            in both halves of the split, a photograph has no trimap, or nothing is left.
    """
    _require_folders(folder)
    rows = _read_list(folder / ANNOTATIONS / LIST)
    images = _files(folder / IMAGES, {".jpg", ".jpeg"})
    trimaps = _files(folder / TRIMAPS, {".png"})
    names = sorted(set(rows) & set(images))
    alone = [name for name in names if name not in trimaps]
    if alone:
        raise DataError(
            f"{len(alone)} photographs have no trimap in {folder / TRIMAPS}: {first_few(alone)}; "
            f"the archive is probably unpacked in part; complete it or check data.path={folder}"
        )
    if not names:
        raise DataError(
            f"nothing to train on: {folder / IMAGES} has {len(images)} photographs, {LIST} has "
            f"{len(rows)} rows and no name is in both; they are probably of different sets; check "
            f"data.path={folder}"
        )
    return Catalogue(
        folder,
        tuple(Photo(name, images[name], trimaps[name], *rows[name]) for name in names),
        without_image=tuple(sorted(set(rows) - set(images))),
        without_row=tuple(sorted(set(images) - set(rows))),
        test_names=_read_split(folder / ANNOTATIONS),
    )


def _require_folders(folder: Path) -> None:
    for path in (folder, folder / IMAGES, folder / TRIMAPS):
        if not path.is_dir():
            held = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
            raise DataError(
                f"no folder {path}; beside it are {first_few(held) or 'no files'}; this is "
                f"probably not the root of the Oxford-IIIT Pet layout (images/, "
                f"annotations/trimaps/); check data.path={folder}"
            )


def _files(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    """Return the files of a folder by their stem; hidden ones, which the set has, are no files.

    Raises:
        DataError: two files have the same stem (a.jpg and a.jpeg).
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in found:
            raise DataError(
                f"{path.stem} is there twice in {folder}: {found[path.stem].name} and {path.name}; "
                f"a copy was probably left behind; remove one, or check "
                f"data.path={folder.parent}"
            )
        found[path.stem] = path
    return found


def _read_list(path: Path) -> dict[str, tuple[int, int]]:
    """Return breed and species, both from 0, of each name."""
    rows: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, breed, species = _parse_row(path, number, line)
        if name in rows:
            raise DataError(
                f"{name} is there twice in {path} (again on line {number}); a photograph on both "
                f"sides of the split would flatter the score; remove one row"
            )
        rows[name] = (breed, species)
    return rows


def _parse_row(path: Path, number: int, line: str) -> tuple[str, int, int]:
    fields = line.split()
    try:
        name, breed, species = fields[0], int(fields[1]), int(fields[2])
    except (IndexError, ValueError):
        name, breed, species = "", 0, 0
    if not (1 <= breed <= BREEDS and 1 <= species <= len(SPECIES)):
        raise DataError(
            f"line {number} of {path} is {line.strip()[:80]!r}; wanted a name, a breed from 1 to "
            f"{BREEDS}, a species (1 cat, 2 dog) and a number; the list is probably cut off or of "
            f"another set"
        )
    return name, breed - 1, species - 1


def _read_split(folder: Path) -> frozenset[str] | None:
    """Return the names of the official test set, where both halves of the split are there."""
    paths = (folder / TRAIN_LIST, folder / TEST_LIST)
    if not all(path.is_file() for path in paths):
        return None
    train, test = (
        {line.split()[0] for line in _lines(path) if line.split() and not line.startswith("#")}
        for path in paths
    )
    both = sorted(train & test)
    if both:
        raise DataError(
            f"{len(both)} names are in both {TRAIN_LIST} and {TEST_LIST} of {folder}: "
            f"{first_few(both)}; scores on them would be flattered; remove them from one"
        )
    return frozenset(test)


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(
            f"no {path.name} in {path.parent}; it says the breed of each photograph and comes with "
            f"the set's annotations; check data.path={path.parents[1]}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {path}: {error}; the file is probably damaged; download it again"
        ) from error
