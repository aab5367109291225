"""Which volumes train and which validate: deterministic, by whole scroll where the numbers allow.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.vesuvius.catalogue import Volume
from jobs.vesuvius.config import ValidationConfig
from watchdog.errors import DataError

#: Whole scrolls are held out when every fold's size is within this factor of an even share.
#: Chosen: at the default of three folds the largest then leaves half of the set to train on.
TOLERANCE = 1.5


@dataclass(frozen=True, slots=True)
class Split:
    """Training and validation volumes, both by id; `by_scroll`: no scroll is in both."""

    train: tuple[Volume, ...]
    validation: tuple[Volume, ...]
    by_scroll: bool


def split_volumes(volumes: Sequence[Volume], config: ValidationConfig) -> Split:
    """Return the split of fold `config.fold`.

    Neighbouring volumes of one scroll look alike, so whole scrolls are held out when all folds can
    be made of them at about the wanted share; otherwise every `folds`-th volume is.

    Raises:
        DataError: one of the two sides would be empty.
    """
    ordered = sorted(volumes, key=lambda volume: (volume.scroll_id, volume.volume_id))
    held = _held_scrolls(ordered, config)
    if held:
        inside = [volume.scroll_id in held for volume in ordered]
    else:
        inside = [place % config.folds == config.fold for place in range(len(ordered))]
    validation = tuple(v for v, is_held in zip(ordered, inside, strict=True) if is_held)
    train = tuple(v for v, is_held in zip(ordered, inside, strict=True) if not is_held)
    if not train or not validation:
        raise DataError(
            f"{len(volumes)} volumes leave {len(train)} to train on and {len(validation)} to "
            f"validate with; the folder is too small for that split; change "
            f"task.validation.share={config.share} or task.validation.fold={config.fold}"
        )
    return Split(train, validation, by_scroll=bool(held))


def _held_scrolls(volumes: Sequence[Volume], config: ValidationConfig) -> frozenset[str]:
    """Return the scrolls of the wanted fold; empty when whole scrolls cannot make the folds."""
    sizes = Counter(volume.scroll_id for volume in volumes)
    folds: list[list[str]] = [[] for _ in range(config.folds)]
    for scroll in sorted(sizes, key=lambda name: (-sizes[name], name)):
        min(folds, key=lambda fold: sum(sizes[name] for name in fold)).append(scroll)
    wanted = len(volumes) / config.folds
    held = [sum(sizes[name] for name in fold) for fold in folds]
    if all(wanted / TOLERANCE <= size <= wanted * TOLERANCE for size in held):
        return frozenset(folds[config.fold])
    return frozenset()


def evenly_spaced(volumes: Sequence[Volume], limit: int) -> tuple[Volume, ...]:
    """Return at most `limit` of the volumes, spread over the whole list."""
    if len(volumes) <= limit:
        return tuple(volumes)
    return tuple(volumes[place * len(volumes) // limit] for place in range(limit))
