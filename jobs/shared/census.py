"""Which items of a data folder can be read: counted, named, and never replaced by something else.

A seed project caught every error of reading and returned random numbers instead; it trained on
noise for twenty epochs. Here an item that cannot be read is counted with its reason, and the next
one that can be read takes its place. Too many of them is a data problem and refused.

Runs in: driver, worker (reads files through the caller's function).
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from watchdog.errors import DataError

log = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")
LoadedT = TypeVar("LoadedT")

#: What the readers of TIFF, NPY, PNG and JPEG raise on a file that is damaged or something else
#: (tifffile's and Pillow's own errors are ValueErrors and OSErrors, imagecodecs' RuntimeErrors; a
#: damaged pickle header is a SyntaxError). Running out of memory or being interrupted is not among
#: them.
READ_ERRORS = (
    DataError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    RuntimeError,
    TypeError,
    SyntaxError,
    ArithmeticError,
    AssertionError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item that cannot be read, and why, in one line."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


@dataclass(frozen=True, slots=True)
class Census(Generic[ItemT]):
    """The items that were looked at, in their order."""

    readable: tuple[ItemT, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def total(self) -> int:
        """Return the number of items that were looked at."""
        return len(self.readable) + len(self.unreadable)

    @property
    def unreadable_ratio(self) -> float:
        """Return the share that cannot be read; 0 of nothing."""
        return len(self.unreadable) / self.total if self.total else 0.0

    def sentence(self, noun: str) -> str:
        """Return the count in plain words, with the first few that cannot be read."""
        if not self.unreadable:
            return f"all {self.total} {noun} looked at can be read"
        return (
            f"{len(self.unreadable)} of {self.total} {noun} cannot be read and are passed over: "
            f"{first_few(self.unreadable)}"
        )

    def require_readable(self, *, max_unreadable_ratio: float, noun: str, setting: str) -> None:
        """Refuse a folder of which nothing, or too little, can be read.

        Raises:
            DataError: nothing was found, nothing can be read, or more than the limit cannot.
        """
        if not self.readable or self.unreadable_ratio > max_unreadable_ratio:
            named = f": {first_few(self.unreadable)}" if self.unreadable else ""
            raise DataError(
                f"{len(self.unreadable)} of {self.total} {noun} cannot be read "
                f"({self.unreadable_ratio:.0%}){named}; the set is probably damaged or unpacked in "
                f"part; download it again, or raise {setting}={max_unreadable_ratio:g}"
            )


def take_census(
    items: Iterable[ItemT],
    read: Callable[[ItemT], object],
    name: Callable[[ItemT], str] = str,
) -> Census[ItemT]:
    """Return which items `read` takes without one of the `READ_ERRORS`; its result is dropped."""
    readable: list[ItemT] = []
    unreadable: list[Unreadable] = []
    for item in items:
        try:
            read(item)
        except READ_ERRORS as error:
            unreadable.append(Unreadable(name(item), one_line(error)))
        else:
            readable.append(item)
    return Census(tuple(readable), tuple(unreadable))


class NextReadable(Generic[ItemT, LoadedT]):
    """Items by index, where the next one that can be read stands in for one that cannot.

    Which one stands in depends on the index and the files alone, so that a sample stays a pure
    function of its index. What cannot be read is remembered and not tried again; `unreadable` says
    how much was met so far, and the log says it once an item.
    """

    def __init__(
        self,
        items: Sequence[ItemT],
        read: Callable[[ItemT], LoadedT],
        name: Callable[[ItemT], str] = str,
    ) -> None:
        self._items = items
        self._read = read
        self._name = name
        self._bad: dict[int, Unreadable] = {}

    def __len__(self) -> int:
        return len(self._items)

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """Return what could not be read so far, in the order of the items."""
        return tuple(self._bad[index] for index in sorted(self._bad))

    def get(self, index: int) -> LoadedT:
        """Return item `index`, or the first readable one after it, round the end.

        Raises:
            DataError: not one item can be read.
            IndexError: `index` is not one of the items.
        """
        if not 0 <= index < len(self._items):
            raise IndexError(f"item {index} of {len(self._items)}")
        for step in range(len(self._items)):
            at = (index + step) % len(self._items)
            if at in self._bad:
                continue
            try:
                return self._read(self._items[at])
            except READ_ERRORS as error:
                self._bad[at] = Unreadable(self._name(self._items[at]), one_line(error))
                log.warning("passed over, the next one is taken: %s", self._bad[at])
        raise DataError(
            f"none of {len(self._items)} items can be read: {first_few(self.unreadable)}; the set "
            f"is probably damaged; download it again or check data.path"
        )


def spread(count: int, limit: int) -> npt.NDArray[np.int64]:
    """Return at most `limit` of `count` places, evenly over all: what to look at of a large set."""
    if count <= limit:
        return np.arange(count)
    return np.arange(limit, dtype=np.int64) * count // limit


def one_line(error: BaseException) -> str:
    """Return the error as one short line, with its class where it says nothing."""
    text = " ".join(str(error).split())
    return text[:200] if text else type(error).__name__


def first_few(values: Sequence[object], limit: int = 3) -> str:
    """Return the first values, and how many more there are."""
    more = f" and {len(values) - limit} more" if len(values) > limit else ""
    return "; ".join(str(value) for value in values[:limit]) + more
