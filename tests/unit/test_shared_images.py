"""Photographs are decoded whole or refused, counted once, and kept within a bound."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.shared.images import ArrayCache, read_colour, read_label_values, resized_labels
from jobs.shared.remembered import remembered_census
from tests.unit.photo_folders import cut_off, write_grey


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_a_picture_of_another_mode_becomes_colour(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (6, 4), (9, 9, 9)).convert(mode).save(path)
    assert read_colour(path).shape == (3, 4, 6)
    assert read_colour(path, 8).shape == (3, 8, 8)


def test_a_picture_that_is_cut_off_is_an_error_not_a_grey_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    cut_off(path, path.stat().st_size // 2)
    with pytest.raises(OSError, match="truncated"):
        read_colour(path)


def test_label_values_stay_as_stored_and_none_is_invented_by_resizing(tmp_path: Path) -> None:
    values = np.random.default_rng(0).choice([1, 2, 3], (9, 7)).astype(np.uint8)
    picture = Image.fromarray(values).convert("P")
    picture.putdata(values.ravel().tolist())
    picture.save(tmp_path / "a.png")
    assert np.array_equal(read_label_values(tmp_path / "a.png"), values)
    assert set(np.unique(resized_labels(values, 32))) == {1, 2, 3}
    write_grey(tmp_path / "colour.png", 1)
    with pytest.raises(OSError, match="mode RGB"):
        read_label_values(tmp_path / "colour.png")


def test_a_census_is_taken_once_until_a_file_changes(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.png" for name in "abc"]
    for path in files:
        write_grey(path, 5)
    cut_off(files[1])
    reads: list[Path] = []

    def read(path: Path) -> None:
        reads.append(path)
        read_colour(path)

    for _ in range(2):
        census = remembered_census(files, read, tmp_path / "cache", "test")
        assert census.readable == (files[0], files[2])
        assert [bad.name for bad in census.unreadable] == [str(files[1])]
    assert sorted(reads) == files
    write_grey(files[1], 6)
    os.utime(files[1], ns=(1, 1))
    assert remembered_census(files, read, tmp_path / "cache", "test").readable == tuple(files)
    assert len(reads) == 6


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}'])
def test_a_damaged_memory_of_a_census_is_taken_for_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.png"
    write_grey(path, 5)
    remembered_census([path], read_colour, tmp_path / "cache", "test")
    (memory,) = (tmp_path / "cache").iterdir()
    memory.write_text(content)
    assert remembered_census([path], read_colour, tmp_path / "cache", "test").readable == (path,)


def test_a_census_where_nothing_can_be_written_is_taken_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_grey(path, 5)
    census = remembered_census([path, tmp_path / "gone.png"], read_colour, path, "test")
    assert census.readable == (path,)
    assert "No such file" in census.unreadable[0].why


def test_the_cache_forgets_the_least_recently_used_beyond_its_bound() -> None:
    cache: ArrayCache[str] = ArrayCache(20)
    loads: list[str] = []

    def get(key: str) -> None:
        def load() -> tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], ...]:
            loads.append(key)
            return (np.zeros(10, np.uint8),)

        cache.get(key, load)

    for key in ("a", "b", "a", "c", "a", "b"):
        get(key)
    assert loads == ["a", "b", "c", "b"]
    assert cache.used_bytes == 20
