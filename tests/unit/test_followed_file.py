"""A file that another process writes: followed in bounded bites, known when it is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.followed_file import FollowedFile, sampled_lines


def numbers(lines: list[dict[str, int]]) -> list[int]:
    return [line["n"] for line in lines]


def text(first: int, last: int) -> str:
    return "".join(f'{{"n": {n}}}\n' for n in range(first, last + 1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trace.jsonl"


def test_a_file_that_is_not_there_yet_is_empty(path: Path) -> None:
    followed = FollowedFile(path)
    assert followed.new_lines() == []
    path.write_text(text(1, 1))
    assert numbers(followed.new_lines()) == [1]


def test_a_line_counts_once_it_is_whole(path: Path) -> None:
    followed = FollowedFile(path)
    path.write_text('{"n": 1}\n{"n"')
    assert numbers(followed.new_lines()) == [1]
    with path.open("a") as file:
        file.write(": 2}\n")
    assert numbers(followed.new_lines()) == [2]
    assert followed.new_lines() == []


def test_a_long_file_comes_in_bites(path: Path) -> None:
    path.write_text(text(1, 1000))
    followed = FollowedFile(path)
    found: list[int] = []
    bites = 0
    while not bites or followed.has_more:
        bites += 1
        found += numbers(followed.new_lines(max_bytes=100))
    assert found == list(range(1, 1001))
    assert bites > 100


def test_a_line_longer_than_a_bite_is_passed_over_and_counted(path: Path) -> None:
    path.write_text('{"n": "' + "x" * 500 + '"}\n' + text(2, 3))
    followed = FollowedFile(path)
    found = [n for _ in range(10) for n in numbers(followed.new_lines(max_bytes=64))]
    assert found == [2, 3]
    assert followed.bad_lines >= 1


def test_what_is_no_object_is_counted(path: Path) -> None:
    path.write_text('{"n": 1}\n[1]\nnonsense\n\xff\n{"n": 2}\n', encoding="latin-1")
    followed = FollowedFile(path)
    assert numbers(followed.new_lines()) == [1, 2]
    assert followed.bad_lines == 3


@pytest.mark.parametrize("content", ["", text(7, 7), text(7, 90)])
def test_another_file_of_the_same_name_is_read_from_its_start(path: Path, content: str) -> None:
    path.write_text(text(1, 20))
    followed = FollowedFile(path)
    followed.new_lines()
    path.unlink()
    path.write_text(content)
    assert followed.new_lines() == [{"n": n} for n in range(7, 7 + content.count("\n"))]
    assert followed.restarts == 1


def test_a_mirror_renamed_into_place_goes_on_where_it_was(path: Path) -> None:
    path.write_text(text(1, 20))
    followed = FollowedFile(path)
    followed.new_lines()
    newer = path.with_suffix(".new")
    newer.write_text(text(1, 22))
    newer.replace(path)
    assert numbers(followed.new_lines()) == [21, 22]
    assert followed.restarts == 0


def test_a_sample_spans_the_whole_file_and_reads_little_of_it(path: Path) -> None:
    path.write_text(text(1, 100_000))
    found = numbers(list(sampled_lines(path, spots=10, spot_bytes=1000)))
    assert found == sorted(set(found))
    assert found[0] == 1
    assert found[-1] > 90_000
    assert len(found) < 1000
