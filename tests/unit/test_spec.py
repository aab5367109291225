"""Claims about the job specification itself."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from runner.spec import RunSpec, worker_bounds


def spec(**changes: Any) -> RunSpec:
    values = {"name": "tiny", "train": {"max_steps": 10, "batch_size": 4, "lr": 0.1}, **changes}
    return RunSpec.model_validate(values)


@pytest.mark.parametrize(
    ("workers", "bounds"),
    [(1, (1, 1)), ("3", (3, 3)), ("1-4", (1, 4)), (0, (0, 0)), ("2-2", (2, 2))],
)
def test_workers_have_bounds(workers: int | str, bounds: tuple[int, int]) -> None:
    assert worker_bounds(workers) == bounds


@pytest.mark.parametrize("workers", ["4-1", "0-3", "x", "-1", "", "1-", -2, 10_001, "1.5"])
def test_impossible_workers_are_refused_with_their_value(workers: int | str) -> None:
    with pytest.raises(ValueError, match=f"workers='?{workers}"):
        worker_bounds(workers)


def test_a_range_of_one_count_is_that_count() -> None:
    assert spec(workers="2-2").workers == 2


def test_every_worker_needs_a_sample() -> None:
    with pytest.raises(ValidationError, match=r"train\.batch_size=4 leaves some of workers=1-5"):
        spec(workers="1-5")


def test_a_specification_cannot_be_changed() -> None:
    frozen = spec()
    with pytest.raises(ValidationError, match="frozen"):
        frozen.workers = 3  # type: ignore[misc]  # the claim


@pytest.mark.parametrize("name", ["Upper", "a-b", "../x", "", "a" * 41])
def test_a_job_name_is_a_plain_folder_name(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        spec(name=name)
