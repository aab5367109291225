"""What cannot be read is counted and named, and the next readable item takes its place."""

from __future__ import annotations

import logging

import pytest

from jobs.shared.census import NextReadable, spread, take_census
from watchdog.errors import DataError


def read(item: int) -> int:
    """Items divisible by 3 are damaged."""
    if item % 3 == 0:
        raise ValueError(f"item {item}\n is cut short")
    return item * 10


def test_a_census_counts_and_names_what_cannot_be_read() -> None:
    census = take_census(range(10), read, lambda item: f"patch{item}")
    assert census.readable == (1, 2, 4, 5, 7, 8)
    assert [str(bad) for bad in census.unreadable][:1] == ["patch0: item 0 is cut short"]
    assert (census.total, census.unreadable_ratio) == (10, 0.4)
    assert census.sentence("patches") == (
        "4 of 10 patches cannot be read and are passed over: patch0: item 0 is cut short; "
        "patch3: item 3 is cut short; patch6: item 6 is cut short and 1 more"
    )


def test_a_whole_set_says_so() -> None:
    assert take_census([1, 2], read).sentence("files") == "all 2 files looked at can be read"


@pytest.mark.parametrize(("items", "limit"), [(range(10), 0.39), ([3, 6], 1.0), ([], 1.0)])
def test_too_many_unreadable_items_are_refused(items: list[int], limit: float) -> None:
    with pytest.raises(DataError, match=r"cannot be read .*task\.max_unreadable"):
        take_census(items, read).require_readable(
            max_unreadable_ratio=limit, noun="files", setting="task.max_unreadable"
        )


def test_as_many_as_the_limit_are_accepted() -> None:
    take_census(range(10), read).require_readable(
        max_unreadable_ratio=0.4, noun="files", setting="task.max_unreadable"
    )


def test_an_error_that_is_not_of_reading_passes_through() -> None:
    def exhausted(item: int) -> int:
        raise MemoryError

    with pytest.raises(MemoryError):
        take_census([1], exhausted)


def test_the_next_readable_item_stands_in_and_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = NextReadable(range(1, 10), read, lambda item: f"patch{item}")
    with caplog.at_level(logging.WARNING):
        assert [source.get(index) for index in (0, 2, 2, 8)] == [10, 40, 40, 10]
    assert [bad.name for bad in source.unreadable] == ["patch3", "patch9"]
    assert len(caplog.records) == 2


def test_nothing_readable_is_an_error_and_never_a_substitute() -> None:
    with pytest.raises(DataError, match="none of 2 items can be read: 3: item 3 is cut short"):
        NextReadable([3, 6], read).get(1)


def test_an_index_outside_is_refused() -> None:
    with pytest.raises(IndexError):
        NextReadable([1], read).get(1)


@pytest.mark.parametrize(
    ("count", "limit", "expected"), [(3, 5, [0, 1, 2]), (10, 4, [0, 2, 5, 7]), (0, 4, [])]
)
def test_places_are_spread_over_the_whole_set(count: int, limit: int, expected: list[int]) -> None:
    assert spread(count, limit).tolist() == expected
