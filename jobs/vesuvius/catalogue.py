"""What lies in a data folder of the Kaggle layout, checked without decoding a volume.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import csv
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from watchdog.errors import DataError

TABLE = "train.csv"
IMAGES = "train_images"
LABELS = "train_labels"
COLUMNS = ("id", "scroll_id")

#: What tifffile and imagecodecs raise on a file that is damaged or not a TIFF (imagecodecs' own
#: errors are RuntimeErrors). Measured: 2400 files with random damage raise these and no others.
UNREADABLE = (
    tifffile.TiffFileError,
    OSError,
    ValueError,
    LookupError,
    RuntimeError,
    TypeError,
    ArithmeticError,
    AssertionError,
    struct.error,
)

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Volume:
    """One labelled volume: where it lies and its size in voxels (depth, height, width)."""

    volume_id: str
    scroll_id: str
    image: Path
    label: Path
    shape: Shape


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The volumes of a folder, by id, and the ids of the table's rows that have no files."""

    folder: Path
    volumes: tuple[Volume, ...]
    without_files: tuple[str, ...]


def read_catalogue(folder: Path, patch_size: int) -> Catalogue:
    """Return the volumes of `folder` that can be trained on.

    Rows of the table without any file are counted, not refused: the real set has twenty.

    Raises:
        DataError: a folder, the table or a column is missing, an id is there twice, an image has
            no label or the reverse, or a TIFF header says that it cannot be used.
    """
    _require_folders(folder)
    rows = _read_table(folder / TABLE)
    images, labels = _tiffs(folder / IMAGES), _tiffs(folder / LABELS)
    _require_pairs(folder, images, labels)
    _require_rows(folder, rows, images)
    volumes = [
        _checked_volume(name, rows[name], images[name], labels[name], patch_size)
        for name in sorted(images)
    ]
    if not volumes:
        raise DataError(
            f"no volume to train on: {folder / IMAGES} has no .tif file and {TABLE} has "
            f"{len(rows)} rows; the archive is probably unpacked elsewhere; check "
            f"data.path={folder}"
        )
    return Catalogue(folder, tuple(volumes), tuple(sorted(set(rows) - set(images))))


def _require_folders(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError(
            f"no data folder at {folder}; the path is probably mistyped or the set not "
            f"downloaded yet; check data.path={folder}"
        )
    for name in (IMAGES, LABELS):
        if not (folder / name).is_dir():
            raise DataError(
                f"no folder {name} in {folder}; it holds {_listing(folder)}; this is probably not "
                f"the root of the Kaggle layout; check data.path={folder}"
            )


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return _some(names) if names else "nothing"


def _some(names: Sequence[str], limit: int = 5) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _read_table(path: Path) -> dict[str, str]:
    """Return the scroll of each id.

    Raises:
        DataError: no such file, not text, a column is missing, a value is empty or an id repeats.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            rows = list(reader)
    except FileNotFoundError as error:
        raise DataError(
            f"no {path.name} in {path.parent}; it names the scroll of each volume and comes with "
            f"the set; check data.path={path.parent}"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"cannot read {path}: {error}; the file is probably damaged; download it again or "
            f"check data.path={path.parent}"
        ) from error
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise DataError(
            f"{path} lacks the column {', '.join(missing)}; it has {', '.join(columns) or 'none'}; "
            f"it is probably another set's table; check data.path={path.parent}"
        )
    return _scroll_by_id(path, rows)


def _scroll_by_id(path: Path, rows: Iterable[dict[str, str | None]]) -> dict[str, str]:
    scrolls: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        name, scroll = (row["id"] or "").strip(), (row["scroll_id"] or "").strip()
        if not name or not scroll:
            raise DataError(
                f"line {line} of {path} has an empty id or scroll_id; the table is probably cut "
                f"off; repair it or check data.path={path.parent}"
            )
        if name in scrolls:
            raise DataError(
                f"id {name} is there twice in {path} (again on line {line}); a volume in both "
                f"training and validation would flatter the score; remove one row, or check "
                f"data.path={path.parent}"
            )
        scrolls[name] = scroll
    return scrolls


def _tiffs(folder: Path) -> dict[str, Path]:
    """Return the TIFF files of a folder by their stem.

    Raises:
        DataError: two files have the same stem (1.tif and 1.tiff).
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in {".tif", ".tiff"} or path.name.startswith("."):
            continue
        if path.stem in found:
            raise DataError(
                f"id {path.stem} is there twice in {folder}: {found[path.stem].name} and "
                f"{path.name}; a copy was probably left behind; remove one, or check "
                f"data.path={folder.parent}"
            )
        found[path.stem] = path
    return found


def _require_pairs(folder: Path, images: dict[str, Path], labels: dict[str, Path]) -> None:
    sides = ((images, labels, "image", LABELS), (labels, images, "label", IMAGES))
    for these, others, noun, where in sides:
        alone = sorted(set(these) - set(others))
        if alone:
            raise DataError(
                f"{len(alone)} {noun} files have no counterpart in {folder / where}: "
                f"{_some(alone)}; the archive is probably unpacked in part; complete it or check "
                f"data.path={folder}"
            )


def _require_rows(folder: Path, rows: dict[str, str], images: dict[str, Path]) -> None:
    unknown = sorted(set(images) - set(rows))
    if unknown:
        raise DataError(
            f"{len(unknown)} volumes in {folder / IMAGES} have no row in {TABLE}: "
            f"{_some(unknown)}; the table is probably of another release; check data.path={folder}"
        )


def _checked_volume(name: str, scroll: str, image: Path, label: Path, patch_size: int) -> Volume:
    shape, label_shape = read_header(image), read_header(label)
    root = image.parents[1]
    if shape != label_shape:
        raise DataError(
            f"volume {name} is {_by(shape)} but its label is {_by(label_shape)}, in {root}; the "
            f"two are probably of different releases; replace one, or check data.path={root}"
        )
    if min(shape) < patch_size:
        raise DataError(
            f"volume {name} in {root} is {_by(shape)} voxels, smaller than a patch along an axis; "
            f"padding would invent labels; lower task.patch_size={patch_size} or remove the volume"
        )
    return Volume(name, scroll, image, label, shape)


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "empty"


def read_header(path: Path) -> Shape:
    """Return the size of the volume in a TIFF file, from its headers alone.

    Raises:
        DataError: the file is damaged, cut short, not 3-D or not of 8 bits.
    """
    try:
        with tifffile.TiffFile(path) as tif:
            is_whole = _is_whole(tif, path.stat().st_size)
            shape, dtype = tuple(tif.series[0].shape), tif.series[0].dtype
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if not is_whole:
        raise unreadable(path, f"its {path.stat().st_size} bytes end before its last slice does")
    if len(shape) != 3:
        raise DataError(
            f"{path} is {len(shape)}-D ({_by(shape)}), a volume has 3 axes; it is probably a "
            f"single slice or has colours; replace it or check data.path={path.parents[1]}"
        )
    if dtype != np.uint8:
        raise DataError(
            f"{path} holds {dtype}, volumes and labels are uint8; it was probably saved by "
            f"another tool; convert it or check data.path={path.parents[1]}"
        )
    return shape


def _is_whole(tif: tifffile.TiffFile, size_bytes: int) -> bool:
    """Return whether the chain of slices is closed and the last one's voxels lie in the file.

    A reader that meets a broken chain takes the slices so far for a smaller volume.
    """
    last = tif.pages[len(tif.pages) - 1]
    end = max(map(sum, zip(last.dataoffsets, last.databytecounts, strict=True)))
    tif.filehandle.seek(tif.pages.next_page_offset)
    following: bytes = tif.filehandle.read(tif.tiff.offsetsize)
    return end <= size_bytes and not any(following)


def unreadable(path: Path, why: object) -> DataError:
    """Return the error that says a TIFF file cannot be decoded."""
    return DataError(
        f"cannot read {path}: {why}; the file is probably damaged or cut short; download it again "
        f"or check data.path={path.parents[1]}"
    )
