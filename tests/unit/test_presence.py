"""What a rank says of where its main thread is, and what it leaves behind when told to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.course import Course
from runner.presence import Presence
from runner.recovery import AttemptPlan
from runner.spec import TrainConfig
from tests.e2e.gloo_pair import VERDICT
from watchdog.records import Order, OrderKind, PhaseReport, WorkerPhase


@pytest.fixture
def course() -> Course:
    plan = AttemptPlan(attempt=2, generation=3)
    course = Course(plan, TrainConfig(max_steps=100, batch_size=8, lr=0.1), 4)
    course.step = 40
    return course


def looks(presence: Presence, start_s: float, seconds: float) -> list[PhaseReport]:
    """Look every 20 ms, as the telemetry thread does."""
    seen = (presence.look(start_s + i * 0.02) for i in range(int(seconds / 0.02) + 1))
    return [report for report in seen if report is not None]


def test_a_main_thread_that_stays_is_reported_each_second(course: Course) -> None:
    presence = Presence(course, rank=1)
    presence.enter(WorkerPhase.ALL_REDUCE)
    reports = looks(presence, 100.0, 3.5)
    assert [round(r.stuck_s) for r in reports] == [1, 2, 3]
    first = reports[0]
    assert (first.attempt, first.generation, first.rank, first.world_size) == (2, 3, 1, 4)
    assert (first.phase, first.step, first.is_first_step) == (WorkerPhase.ALL_REDUCE, 41, True)


def test_a_main_thread_that_moves_is_not_worth_a_record(course: Course) -> None:
    presence = Presence(course, rank=0)
    for second in range(10):
        presence.enter(WorkerPhase.DATA)
        assert looks(presence, second * 0.9, 0.88) == []


def test_a_pause_of_the_process_is_not_counted(course: Course) -> None:
    presence = Presence(course, rank=0)
    presence.enter(WorkerPhase.COMPUTE)
    looks(presence, 0.0, 0.5)
    woken = presence.look(600.0)
    assert woken is not None
    assert woken.stuck_s == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("phase", "step"),
    [(WorkerPhase.DATA, 41), (WorkerPhase.VALIDATE, 40), (WorkerPhase.SETTLE, 40)],
)
def test_the_step_is_the_one_in_the_making(course: Course, phase: WorkerPhase, step: int) -> None:
    presence = Presence(course, rank=0)
    presence.is_first_step = False
    presence.enter(phase)
    [report] = looks(presence, 0.0, 1.5)
    assert (report.step, report.is_first_step) == (step, False)


def test_the_stacks_of_all_threads_are_written_before_the_end(
    course: Course, tmp_path: Path
) -> None:
    ended: list[str] = []
    stacks = tmp_path / "stacks"

    def end(order: Order) -> None:
        ended.append((stacks / "attempt_2_step_40_rank_1.txt").read_text())

    presence = Presence(course, 1, stacks, end)
    presence.enter(WorkerPhase.DATA)
    presence.give_up(Order(order_id=2, kind=OrderKind.ABANDON, verdict=VERDICT))
    [text] = ended
    assert "rank 1 in 'data'" in text
    assert "test_the_stacks_of_all_threads_are_written_before_the_end" in text


def test_an_end_without_a_place_for_stacks_is_an_end_all_the_same(
    course: Course, tmp_path: Path
) -> None:
    ended: list[bool] = []
    (tmp_path / "stacks").write_text("a file in the way")
    presence = Presence(course, 1, tmp_path / "stacks", lambda order: ended.append(True))
    presence.give_up(Order(order_id=2, kind=OrderKind.ABANDON, verdict=VERDICT))
    assert ended == [True]


def test_a_rank_that_leaves_because_of_its_peers_writes_no_stacks(
    course: Course, tmp_path: Path
) -> None:
    left: list[int | None] = []
    presence = Presence(course, 1, tmp_path / "stacks", lambda order: left.append(order.attempt))
    presence.give_up(Order(order_id=0, kind=OrderKind.ABANDON, attempt=2))
    assert left == [2]
    assert not (tmp_path / "stacks").exists()
