"""The split is deterministic, complete, and by whole scroll where the numbers allow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from jobs.vesuvius.catalogue import Volume
from jobs.vesuvius.config import ValidationConfig
from jobs.vesuvius.split import evenly_spaced, split_volumes
from watchdog.errors import DataError


def volumes(scrolls: Sequence[str]) -> list[Volume]:
    return [
        Volume(str(index), scroll, Path(), Path(), (32, 32, 32))
        for index, scroll in enumerate(scrolls)
    ]


@pytest.mark.parametrize("scrolls", ["aabbcc", "aaabbb", "aaaaaab", "abcdefghij"])
def test_folds_partition_the_volumes(scrolls: str) -> None:
    held = [
        {v.volume_id for v in split_volumes(volumes(scrolls), fold).validation}
        for fold in (ValidationConfig(share=0.34, fold=index) for index in range(3))
    ]
    assert sum(map(len, held)) == len(set.union(*held)) == len(scrolls)


def test_even_scrolls_are_held_out_whole() -> None:
    split = split_volumes(volumes("abcabc"), ValidationConfig(share=0.34))
    assert split.by_scroll
    assert not {v.scroll_id for v in split.train} & {v.scroll_id for v in split.validation}


def test_one_large_scroll_is_split_by_volume() -> None:
    split = split_volumes(volumes("aaaaaaab"), ValidationConfig(share=0.25))
    assert not split.by_scroll
    assert len(split.validation) == 2


def test_order_of_the_files_does_not_change_the_split() -> None:
    given = volumes("aaabbb")
    assert split_volumes(given, ValidationConfig()) == split_volumes(
        given[::-1], ValidationConfig()
    )


def test_too_few_volumes_are_refused_with_the_setting() -> None:
    with pytest.raises(DataError, match=r"task\.validation\.share=0\.34"):
        split_volumes(volumes("a"), ValidationConfig())


def test_evenly_spaced_spreads_over_the_whole_list() -> None:
    chosen = evenly_spaced(volumes("a" * 10), 3)
    assert [v.volume_id for v in chosen] == ["0", "3", "6"]
    assert len(evenly_spaced(chosen, 5)) == 3
