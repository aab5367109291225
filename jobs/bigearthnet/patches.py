"""A patch as the network sees it: read, checked, averaged down and normalised.

C bands, H W pixels. All arrays are float32 in [-1, 1] but for what the percentiles cut off.

Runs in: worker, driver (reads files).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tifffile

from jobs.bigearthnet.catalogue import BANDS_10M, BANDS_20M, SIDES, Patch
from jobs.bigearthnet.config import Config, NormaliseConfig
from watchdog.errors import DataError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Input and target of a whole patch: `low` (C, 120 / scale, ...), `high` (4, 120, 120)."""

    name: str
    low: Floats
    high: Floats


def input_bands(config: Config) -> int:
    """Return the number of input channels."""
    return len(BANDS_10M) + (len(BANDS_20M) if config.with_20m_bands else 0)


def read_pair(patch: Patch, config: Config) -> Pair:
    """Return the patch as input and target.

    Raises:
        DataError: a band is missing, damaged, of another size or type, or the target is flat.
    """
    if is_damaged_on_purpose(patch.name, config.damaged_share):
        raise DataError(
            f"patch {patch.name} is taken for unreadable on purpose, by "
            f"task.damaged_share={config.damaged_share:g}"
        )
    fine = _read_bands(patch, BANDS_10M)
    limits = band_limits(fine, config.normalise)
    high = scaled(fine, *limits)
    _require_contrast(patch, high, config.normalise)
    parts = [scaled(averaged(fine, config.scale), *limits)]
    if config.with_20m_bands:
        coarse = averaged(_read_bands(patch, BANDS_20M), config.scale // 2)
        parts.append(scaled(coarse, *band_limits(coarse, config.normalise)))
    return Pair(patch.name, np.concatenate(parts), high)


def is_damaged_on_purpose(name: str, share: float) -> bool:
    """Whether a patch is among the share that is taken for unreadable; the same in every run."""
    drawn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    return drawn < share


def _read_bands(patch: Patch, bands: tuple[str, ...]) -> Floats:
    return np.stack([_read_band(patch, band) for band in bands]).astype(np.float32)


def _read_band(patch: Patch, band: str) -> npt.NDArray[np.uint16]:
    path = patch.band(band)
    if not path.is_file():
        raise DataError(f"band {band} is missing: no {path.name} in {patch.folder}")
    counts: npt.NDArray[np.uint16] = tifffile.imread(path)
    side = SIDES[band]
    if counts.shape != (side, side) or counts.dtype != np.uint16:
        raise DataError(
            f"{path} holds {counts.dtype} {counts.shape}, band {band} of a patch is uint16 "
            f"({side}, {side})"
        )
    return counts


def band_limits(counts: Floats, config: NormaliseConfig) -> tuple[Floats, Floats]:
    """Return the counts of each band that become -1 and 1, both (C, 1, 1)."""
    if config.method == "divide":
        low = np.zeros((len(counts), 1, 1), np.float32)
        return low, low + np.float32(config.divisor)
    edges = np.percentile(counts, [config.low, config.high], axis=(1, 2)).astype(np.float32)
    low, high = edges[0, :, None, None], edges[1, :, None, None]
    # A flat band has no range: it becomes -1 throughout, and the check of contrast sees it.
    return low, np.where(high > low, high, low + 1)


def scaled(counts: Floats, low: Floats, high: Floats) -> Floats:
    """Return the counts from `low` to `high` as -1 to 1, what lies beyond cut off."""
    scaled_: Floats = np.clip((counts - low) / (high - low), 0.0, 1.0) * 2 - 1
    return scaled_.astype(np.float32)


def averaged(bands: Floats, factor: int) -> Floats:
    """Return the mean over squares of `factor` pixels: what a coarser sensor would have seen."""
    c, h, w = bands.shape
    blocks = bands.reshape(c, h // factor, factor, w // factor, factor)
    mean: Floats = blocks.mean(axis=(2, 4), dtype=np.float32)
    return mean


def _require_contrast(patch: Patch, high: Floats, config: NormaliseConfig) -> None:
    """Raise DataError where the target of any band is flat; in shares of the range of 2."""
    spread = high.std(axis=(1, 2)) / 2
    if config.min_target_std and float(spread.min()) < config.min_target_std:
        band = BANDS_10M[int(spread.argmin())]
        raise DataError(
            f"band {band} of patch {patch.name} has a standard deviation of {spread.min():.2g} of "
            f"the range after normalising by {config.method}, too flat to learn from; limit is "
            f"task.normalise.min_target_std={config.min_target_std:g}"
        )
