"""How many states fit into memory is known, and said, before the first is taken."""

from __future__ import annotations

import pytest

from runner.memory_budget import (
    MemoryPlan,
    MemoryRoom,
    agree,
    available_bytes,
    optimizer_bytes,
    plan_memory,
    room_for_checkpoints,
)

MIB = 2**20
MEMINFO = "MemTotal:       1000 kB\nMemAvailable:    400 kB\n"


def plan(room_mib: int, *, ranks: int = 1, copy_room_mib: int = 0) -> MemoryPlan:
    return plan_memory(
        state_bytes=10 * MIB,
        keep=6,
        every_steps=8,
        ranks_on_node=ranks,
        room=MemoryRoom(room_mib * MIB, "told"),
        copy_room_bytes=copy_room_mib * MIB,
        copy_bytes=10 * MIB if copy_room_mib else 0,
    )


def test_what_fits_is_kept_as_asked() -> None:
    fits = plan(80)
    assert (fits.keep, fits.every_steps, fits.is_reduced) == (6, 8, False)
    assert "6 every 8 steps, 10.0 MiB each" in fits.sentence
    assert "80.0 MiB on this node" in fits.sentence


@pytest.mark.parametrize(
    ("room_mib", "ranks", "keep", "every_steps"),
    [(79, 1, 5, 10), (50, 1, 3, 16), (40, 1, 2, 24), (100, 2, 3, 16)],
)
def test_fewer_are_kept_further_apart_and_reach_as_far_back(
    room_mib: int, ranks: int, keep: int, every_steps: int
) -> None:
    reduced = plan(room_mib, ranks=ranks)
    assert (reduced.keep, reduced.every_steps) == (keep, every_steps)
    assert reduced.keep * reduced.every_steps >= 6 * 8
    assert reduced.is_reduced
    assert "6 every 8 were asked for" in reduced.sentence


@pytest.mark.parametrize(("room_mib", "ranks"), [(39, 1), (79, 2), (0, 1)])
def test_a_state_too_large_is_left_to_durable_checkpoints(room_mib: int, ranks: int) -> None:
    none = plan(room_mib, ranks=ranks)
    assert (none.keep, none.outside_keep, none.is_reduced) == (0, 0, True)
    assert "durable checkpoints alone" in none.sentence


def test_copies_outside_are_bounded_by_the_object_store() -> None:
    assert plan(80, copy_room_mib=256).outside_keep == 6
    assert plan(80, copy_room_mib=25).outside_keep == 2
    assert plan(80, copy_room_mib=9).outside_keep == 0
    assert plan(80).outside_keep == 0


def test_the_ranks_follow_the_one_with_the_least_room() -> None:
    wide, narrow = plan(80, copy_room_mib=25), plan(50, copy_room_mib=256)
    agreed = agree([wide, narrow])
    assert (agreed.keep, agreed.every_steps, agreed.outside_keep) == (3, 16, 2)
    assert agree([wide, plan(0)]).keep == 0


def test_a_control_group_counts_where_it_leaves_less() -> None:
    assert available_bytes(MEMINFO, "", "") == (400 * 1024, "the machine")
    assert available_bytes(MEMINFO, "max\n", "5\n") == (400 * 1024, "the machine")
    assert available_bytes(MEMINFO, "3000\n", "1000\n") == (2000, "the control group")
    assert available_bytes(MEMINFO, "1000\n", "3000\n") == (0, "the control group")
    assert available_bytes("", "3000", "1000") == (2000, "the control group")


def test_the_setting_goes_before_what_is_available() -> None:
    assert room_for_checkpoints(1.5, 100, "the machine").limit_bytes == 1_500_000_000
    half = room_for_checkpoints(None, 100, "the machine")
    assert half.limit_bytes == 50
    assert "checkpoints.memory_limit_gb" in half.reason


def test_the_state_an_optimizer_will_have_is_foreseen() -> None:
    assert optimizer_bytes("AdamW", 100) == 200
    assert optimizer_bytes("SGD", 100) == 100
    assert optimizer_bytes("SomethingNew", 100) == 200
