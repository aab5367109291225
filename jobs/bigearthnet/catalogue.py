"""Which patches lie under a folder, in the layout of BigEarthNet 1 or 2, without opening a file.

Both releases name the files `<patch>_<band>.tif` and differ in the folders above; so the folder is
searched at any depth, and a patch is wherever its blue band is.

Runs in: driver, worker (reads files).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from jobs.shared.split import hold_out
from watchdog.errors import DataError

#: Bands and the side of a patch in pixels.
SIDES = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 120),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 60),
    **dict.fromkeys(("B01", "B09"), 20),
}
BANDS_10M = ("B02", "B03", "B04", "B08")
BANDS_20M = ("B05", "B06", "B07", "B8A", "B11", "B12")
_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch: its name, its folder and how its files end."""

    name: str
    folder: Path
    suffix: str = ".tif"

    def band(self, band: str) -> Path:
        """Return where the file of a band lies, or should lie."""
        return self.folder / f"{self.name}_{band}{self.suffix}"


def find_patches(folder: Path) -> tuple[Patch, ...]:
    """Return the patches at any depth, by name.

    Raises:
        DataError: no folder, no patch in it, or a patch is there twice.
    """
    if not folder.is_dir():
        raise DataError(
            f"no data folder at {folder}; the path is probably mistyped or the set not "
            f"downloaded yet; check data.path={folder}"
        )
    found: dict[str, Patch] = {}
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for file in files:
            patch = _as_patch(Path(parent), file)
            if patch is None:
                continue
            if patch.name in found:
                raise DataError(
                    f"patch {patch.name} is there twice, in {found[patch.name].folder} and "
                    f"{patch.folder}; one of them could end up on both sides of the split; remove "
                    f"one, or check data.path={folder}"
                )
            found[patch.name] = patch
    if not found:
        raise DataError(
            f"no patch in {folder}: no file is called <patch>_B02.tif at any depth; it holds "
            f"{_listing(folder)}; the archive is probably unpacked elsewhere; check "
            f"data.path={folder}"
        )
    return tuple(found[name] for name in sorted(found))


def _as_patch(folder: Path, file: str) -> Patch | None:
    stem, suffix = os.path.splitext(file)  # noqa: PTH122  # a Path for each of millions is slow
    if suffix.lower() not in _SUFFIXES or not stem.endswith("_B02") or stem.startswith("."):
        return None
    return Patch(stem.removesuffix("_B02"), folder, suffix)


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) or "nothing") + more


def split_patches(
    patches: tuple[Patch, ...], share: float, folder: Path
) -> tuple[tuple[Patch, ...], tuple[Patch, ...]]:
    """Return training and held-out patches.

    Raises:
        DataError: one of the two sides would be empty.
    """
    return hold_out(patches, share, noun="patches", setting="task.validation.share", folder=folder)
