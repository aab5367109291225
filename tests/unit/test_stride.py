import pytest

from watchdog.steps import JudgedStep
from watchdog.stride import stride


def steps(at: list[int], epochs: list[float] | None = None) -> list[JudgedStep]:
    told = epochs if epochs is not None else [None] * len(at)
    return [
        JudgedStep(step, 0.0, 1.0, None, None, is_finite=True, epoch=epoch)
        for step, epoch in zip(at, told, strict=True)
    ]


@pytest.mark.parametrize("width", [1, 50])
def test_distance_of_the_newest_records_is_the_stride(width: int) -> None:
    assert stride(steps([width * i for i in range(20)])) == width


def test_hole_in_a_log_is_outvoted() -> None:
    assert stride(steps([*range(10), *range(5000, 5010)])) == 1


def test_record_of_each_epoch_stands_for_many_steps() -> None:
    assert stride(steps(list(range(8)), [float(i) for i in range(8)])) == 100
    assert stride(steps(list(range(8)), [i / 10 for i in range(8)])) == 1


def test_single_record_and_impossible_epochs_stand_for_one() -> None:
    assert stride(steps([7])) == 1
    assert stride(steps([1, 2, 3], [0.0, float("inf"), 2.0])) == 1
