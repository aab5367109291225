"""How many workers fit, and when a run grows."""

from __future__ import annotations

import pytest

from runner.elastic import Growth, choose_size, fitting, lacks_room

CPU = {"CPU": 1.0}


@pytest.mark.parametrize(
    ("nodes", "worker", "expected"),
    [
        ([], CPU, 0),
        ([{"CPU": 2.0}, {"CPU": 1.0}], CPU, 3),
        ([{"CPU": 0.5}, {"CPU": 0.5}], CPU, 0),
        ([{"CPU": 1.0}], {"CPU": 0.1}, 10),
        ([{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0}], {"CPU": 1.0, "GPU": 1.0}, 1),
        ([{"memory": 1e9}], CPU, 0),
    ],
)
def test_a_worker_fits_on_one_node(
    nodes: list[dict[str, float]], worker: dict[str, float], expected: int
) -> None:
    assert fitting(nodes, worker) == expected


@pytest.mark.parametrize(
    ("bounds", "room", "workers"),
    [((1, 4), 0, None), ((1, 4), 1, 1), ((1, 4), 3, 3), ((1, 4), 9, 4), ((2, 2), 1, None)],
)
def test_a_run_takes_what_fits_within_its_range(
    bounds: tuple[int, int], room: int, workers: int | None
) -> None:
    assert choose_size(bounds, room).workers == workers


def test_too_little_room_is_a_reason() -> None:
    assert "1 of at least 2 workers fit" in choose_size((2, 4), 1).reason


def due(spare: list[int], workers: int = 2, started_s: float = 0.0) -> list[bool]:
    """Ask once a second from second 40 on."""
    growth = Growth((1, 4), workers, started_s)
    return [growth.is_due(n, 40.0 + i) for i, n in enumerate(spare)]


def test_a_run_grows_once_the_room_has_stayed() -> None:
    assert due([0, 1, 1, 1, 1]) == [False, False, False, False, True]


def test_room_that_flickers_is_none() -> None:
    assert not any(due([1, 1, 0, 1, 1, 0, 1, 1]))


def test_a_run_at_its_greatest_does_not_grow() -> None:
    assert not any(due([3] * 10, workers=4))


def test_an_attempt_that_has_just_started_is_left_alone() -> None:
    assert not any(due([1] * 10, started_s=39.0))


@pytest.mark.parametrize(
    ("state", "bundles", "is_lacking"),
    [
        ("PENDING", [CPU, CPU], True),
        ("RESCHEDULING", [CPU, CPU], True),
        ("CREATED", [CPU, CPU], False),
        ("REMOVED", [CPU, CPU], False),
        ("PENDING", [CPU], False),
        ("PENDING", [{"CPU": 2.0}, CPU], False),
    ],
)
def test_a_group_lacks_room_while_its_place_is_not_found(
    state: str, bundles: list[dict[str, float]], is_lacking: bool
) -> None:
    groups = [{"state": state, "bundles": dict(enumerate(bundles))}]
    assert lacks_room(groups, {"CPU": 1.0, "GPU": 0.0}, 2) == is_lacking
