"""Which items validate: every n-th, always the same ones.

Runs in: driver, worker (pure).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from watchdog.errors import DataError

ItemT = TypeVar("ItemT")


def hold_out(
    items: Sequence[ItemT], share: float, *, noun: str, setting: str, folder: Path
) -> tuple[tuple[ItemT, ...], tuple[ItemT, ...]]:
    """Return the items to train on, and every n-th, which is held out.

    Raises:
        DataError: one of the two sides would be empty.
    """
    nth = max(2, round(1 / share))
    held_out = tuple(items[nth - 1 :: nth])
    train = tuple(item for place, item in enumerate(items, start=1) if place % nth)
    if not train or not held_out:
        raise DataError(
            f"{len(items)} {noun} leave {len(train)} to train on and {len(held_out)} to validate "
            f"with; the folder is too small for that split; raise {setting}={share:g}, or check "
            f"data.path={folder}"
        )
    return train, held_out
