"""The books of a run's wall time: every second in exactly one category."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.goodput import Accountant, Category, EarnedTime
from watchdog.records import (
    AttemptEnded,
    AttemptStarted,
    Cause,
    CheckpointSaved,
    EvalReport,
    Outcome,
    Record,
    RollbackDone,
    RoomAwaited,
    RunEnded,
    RunStarted,
    StepReport,
    Storage,
    Tick,
)


def run_started(t_s: float) -> RunStarted:
    return RunStarted(t_s=t_s, run_id="r", job="j", max_steps=100)


def attempt_started(t_s: float, attempt: int = 0, restored_step: int = 0) -> AttemptStarted:
    return AttemptStarted(
        t_s=t_s, attempt=attempt, world_size=2, restored_step=restored_step, generation=attempt
    )


def step(
    t_s: float,
    number: int,
    *,
    step_s: float | None = 1.0,
    data_s: float | None = None,
    generation: int = 0,
    rank: int = 0,
    is_applied: bool = True,
) -> StepReport:
    return StepReport(
        t_s=t_s,
        attempt=0,
        generation=generation,
        rank=rank,
        step=number,
        step_s=step_s,
        data_s=data_s,
        is_applied=is_applied,
    )


def evaluation(t_s: float, seconds: float | None) -> EvalReport:
    return EvalReport(t_s=t_s, attempt=0, generation=0, step=1, seconds=seconds)


def checkpoint(t_s: float, seconds: float | None) -> CheckpointSaved:
    return CheckpointSaved(
        t_s=t_s, attempt=0, generation=0, step=1, storage=Storage.DURABLE, seconds=seconds
    )


def rollback(t_s: float, *, restored_step: int, seconds: float = 0.5) -> RollbackDone:
    return RollbackDone(
        t_s=t_s,
        attempt=0,
        generation=1,
        verdict_id=1,
        step=9,
        restored_step=restored_step,
        storage=Storage.MEMORY,
        seconds=seconds,
        steps_lost=2,
    )


def attempt_ended(t_s: float, outcome: Outcome) -> AttemptEnded:
    return AttemptEnded(t_s=t_s, attempt=0, outcome=outcome, step=9)


def run_ended(t_s: float) -> RunEnded:
    return RunEnded(t_s=t_s, attempt=0, step=9, state="finished")


def books(records: Sequence[Record]) -> dict[str, float]:
    """Return the categories that hold any time, in seconds."""
    accountant = Accountant()
    for record in records:
        accountant.observe(record)
    return {k: round(v, 9) for k, v in accountant.time_s().items() if v > 1e-12}


START = [run_started(0.0), attempt_started(4.0)]

TABLE: dict[str, tuple[list[Record], dict[str, float]]] = {
    "nothing has happened": ([run_started(0.0)], {}),
    "startup lasts until the first step began": (
        [*START, step(6.0, 1)],
        {"startup": 5.0, "productive": 1.0},
    ),
    "waiting for data is not productive": (
        [*START, step(5.0, 1), step(6.0, 2, data_s=0.25)],
        {"startup": 4.0, "productive": 1.75, "data_stall": 0.25},
    ),
    "a validation and a checkpoint are told apart": (
        [*START, step(5.0, 1), evaluation(7.0, 2.0), checkpoint(7.5, 0.5), step(8.5, 2)],
        {"startup": 4.0, "productive": 2.0, "validation": 2.0, "checkpoint_stall": 0.5},
    ),
    "a checkpoint reported before the step it followed is still a stall": (
        [*START, step(5.0, 1), checkpoint(6.5, 0.5), step(6.0, 2), step(7.5, 3)],
        {"startup": 4.0, "productive": 3.0, "checkpoint_stall": 0.5},
    ),
    "a checkpoint written behind the steps stalls nothing": (
        [*START, step(5.0, 1), step(6.0, 2), checkpoint(6.0, 30.0), step(7.0, 3)],
        {"startup": 4.0, "productive": 3.0},
    ),
    "a checkpoint written during a step leaves the step its time": (
        [*START, step(5.0, 1), checkpoint(5.75, 30.0), step(6.0, 2)],
        {"startup": 4.0, "productive": 2.0},
    ),
    "a step told twice takes nothing from the checkpoint between": (
        [*START, step(5.0, 1), checkpoint(5.5, 0.5), step(5.0, 1)],
        {"startup": 4.0, "productive": 1.0, "checkpoint_stall": 0.5},
    ),
    "time between steps that nobody explains is other": (
        [*START, step(5.0, 1), step(7.0, 2), step(8.0, 3)],
        {"startup": 4.0, "productive": 3.0, "other": 1.0},
    ),
    "silence is waiting while nobody has explained it": (
        [*START, step(5.0, 1), Tick(t_s=9.0)],
        {"startup": 4.0, "productive": 1.0, "waiting": 4.0},
    ),
    "steps beyond the restored one were for nothing": (
        [*START, step(5.0, 1), step(6.0, 2), step(7.0, 3), rollback(7.5, restored_step=1)],
        {"startup": 4.0, "productive": 1.0, "redone_steps": 2.0, "recovery": 0.5},
    ),
    "the second time a step is made it counts": (
        [
            *START,
            step(5.0, 1),
            step(6.0, 2),
            rollback(6.5, restored_step=1),
            step(7.5, 2, generation=1),
        ],
        {"startup": 4.0, "productive": 2.0, "redone_steps": 1.0, "recovery": 0.5},
    ),
    "a late report of a superseded generation is not productive": (
        [*START, step(5.0, 1), rollback(5.5, restored_step=1), step(6.5, 2, generation=0)],
        {"startup": 4.0, "productive": 1.0, "redone_steps": 1.0, "recovery": 0.5},
    ),
    "a step that was not applied is not productive": (
        [*START, step(5.0, 1, is_applied=False)],
        {"startup": 4.0, "redone_steps": 1.0},
    ),
    "a crash costs its silence, the restart and the steps since the checkpoint": (
        [
            *START,
            step(5.0, 1),
            step(6.0, 2),
            attempt_ended(9.0, Outcome.WORKER_DIED),
            attempt_started(12.0, attempt=1, restored_step=1),
            step(14.0, 2, generation=1),
        ],
        {"startup": 4.0, "productive": 2.0, "redone_steps": 1.0, "recovery": 7.0},
    ),
    "the end of a planned attempt is other": (
        [*START, step(5.0, 1), attempt_ended(6.0, Outcome.FINISHED), run_ended(7.0)],
        {"startup": 4.0, "productive": 1.0, "other": 2.0},
    ),
    "the night between a stop and a resume is not the run's": (
        [*START, step(5.0, 1), run_ended(5.0), run_started(9000.0), step(9003.0, 2)],
        {"startup": 6.0, "productive": 2.0},
    ),
    "a driver that vanished leaves its gap to recovery": (
        [*START, step(5.0, 1), run_started(60.0), attempt_started(62.0, 1, 1), step(63.0, 2)],
        {"startup": 4.0, "productive": 1.0, "recovery": 57.0, "redone_steps": 1.0},
    ),
    "the other ranks do not count": (
        [*START, step(5.0, 1), step(90.0, 1, rank=1)],
        {"startup": 4.0, "productive": 1.0},
    ),
    "after its end nothing is added": (
        [*START, step(5.0, 1), run_ended(6.0), Tick(t_s=99.0), step(98.0, 2)],
        {"startup": 4.0, "productive": 1.0, "other": 1.0},
    ),
    "a step without a duration leaves its time to other": (
        [*START, step(5.0, 1), step(6.0, 2, step_s=None), step(7.0, 3)],
        {"startup": 4.0, "productive": 2.0, "other": 1.0},
    ),
    "a trace that begins in the middle is counted from its first record": (
        [step(100.0, 7), step(101.0, 8)],
        {"productive": 1.0},
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_every_second_is_in_its_category(case: str) -> None:
    records, expected = TABLE[case]
    assert books(records) == expected


def test_ratio_is_unknown_before_any_time_has_passed() -> None:
    accountant = Accountant()
    assert accountant.ratio() is None
    accountant.observe(run_started(5.0))
    assert accountant.ratio() is None


def test_ratio_is_productive_over_wall() -> None:
    accountant = Accountant()
    for record in [*START, step(5.0, 1), step(6.0, 2), step(7.0, 3), step(8.0, 4)]:
        accountant.observe(record)
    assert accountant.ratio() == pytest.approx(0.5)
    assert accountant.wall_s() == pytest.approx(8.0)


def test_all_categories_are_named_from_the_start() -> None:
    assert Accountant().time_s() == {category.value: 0.0 for category in Category}


_times = st.one_of(
    st.floats(0, 1000), st.sampled_from([math.nan, math.inf, -math.inf, -5.0, 1e6, 0.0])
)
_numbers = st.integers(-3, 60)
_durations = st.one_of(
    st.none(), st.floats(0, 50), st.sampled_from([math.nan, math.inf, -1.0, 1e300])
)
_records = st.one_of(
    st.builds(run_started, _times),
    st.builds(attempt_started, _times, st.integers(0, 5), _numbers),
    st.builds(
        step,
        _times,
        _numbers,
        step_s=_durations,
        data_s=_durations,
        generation=st.integers(0, 3),
        rank=st.integers(0, 1),
        is_applied=st.booleans(),
    ),
    st.builds(evaluation, _times, _durations),
    st.builds(checkpoint, _times, _durations),
    st.builds(rollback, _times, restored_step=_numbers, seconds=st.floats(-1, 20)),
    st.builds(attempt_ended, _times, st.sampled_from(list(Outcome))),
    st.builds(run_ended, _times),
    st.builds(lambda t_s: Tick(t_s=t_s), _times),
    st.builds(
        lambda t_s, seconds: RoomAwaited(t_s=t_s, seconds=seconds), _times, st.floats(-1, 50)
    ),
)


def wall_time_s(records: Sequence[Record]) -> float:
    """Return the time covered, by a clock that only goes forward and stops between runs."""
    total_s, now_s, is_over = 0.0, None, False
    for record in records:
        if isinstance(record, StepReport) and record.rank != 0:
            continue
        if is_over and not isinstance(record, RunStarted):
            continue
        if math.isfinite(record.t_s):
            if now_s is not None and not is_over:
                total_s += max(0.0, record.t_s - now_s)
            now_s = record.t_s if now_s is None or is_over else max(now_s, record.t_s)
        is_over = isinstance(record, RunEnded)
    return total_s


@settings(max_examples=300, deadline=None)
@given(st.lists(_records, max_size=40), st.booleans())
def test_categories_add_up_to_wall_time_for_any_order(records: list[Record], twice: bool) -> None:
    told = [r for record in records for r in ([record, record] if twice else [record])]
    accountant = Accountant()
    for record in told:
        accountant.observe(record)
        assert all(seconds >= 0 for seconds in accountant.time_s().values())
        recovered_s = sum(accountant.recovery_s().values())
        assert recovered_s == pytest.approx(accountant.time_s()["recovery"], abs=1e-6)
    assert sum(accountant.time_s().values()) == pytest.approx(wall_time_s(told), abs=1e-6)
    ratio = accountant.ratio()
    assert ratio is None or 0 <= ratio <= 1


@settings(max_examples=100, deadline=None)
@given(st.integers(4, 200), st.integers(1, 400), st.integers(-5, 500))
def test_earned_time_taken_back_is_exact_or_close(points: int, steps: int, restored: int) -> None:
    earned = EarnedTime(max_points=points)
    for number in range(1, steps + 1):
        earned.add(number, 2.0)
    lost_s = earned.take_back(restored)
    assert lost_s == pytest.approx(2.0 * max(0, steps - max(restored, 0)))
    assert earned.take_back(0) == pytest.approx(2.0 * steps - lost_s)


def test_the_newest_steps_stay_exact_when_the_oldest_are_thinned() -> None:
    earned = EarnedTime(max_points=64)
    for number in range(1, 10_001):
        earned.add(number, 1.0 if number % 2 else 3.0)
    assert earned.take_back(9_999) == 3.0
    assert earned.take_back(9_998) == 1.0


def test_a_restarted_driver_that_sends_its_start_twice_changes_nothing_in_the_sum() -> None:
    accountant = Accountant()
    for record in [run_started(0.0), run_started(0.0), attempt_started(1.0), step(3.0, 1)]:
        accountant.observe(record)
    assert accountant.wall_s() == pytest.approx(3.0)


def test_a_wait_for_room_is_neither_start_up_nor_recovery() -> None:
    accountant = Accountant()
    waits = [RoomAwaited(t_s=float(t), seconds=1.0) for t in range(3, 13)]
    for record in [run_started(0.0), *waits, attempt_started(15.0), step(17.0, 1)]:
        accountant.observe(record)
    told = {name: seconds for name, seconds in accountant.time_s().items() if seconds}
    assert told == {"startup": 6.0, "resources": 10.0, "productive": 1.0}


def test_recovery_is_told_by_what_it_was_from() -> None:
    accountant = Accountant()
    for record in [run_started(0.0), attempt_started(1.0), step(3.0, 1), step(4.0, 2)]:
        accountant.observe(record)
    accountant.blame(Cause.STALL)
    accountant.observe(attempt_ended(9.0, Outcome.WORKER_DIED))
    accountant.observe(attempt_started(10.0, attempt=1, restored_step=2))
    assert accountant.recovery_s() == {Cause.STALL: 6.0}, "it is under way"
    accountant.observe(step(12.0, 3, generation=1))
    accountant.observe(run_started(20.0))  # another driver: the one before it vanished
    assert accountant.recovery_s() == {Cause.STALL: 7.0, Cause.CRASH: 8.0}
