"""What the live view holds: curves that go back with the run, and the health of its ranks."""

from __future__ import annotations

import math

from runner.live_curve import LiveCurve
from runner.live_ranks import Health, LiveRanks, census
from runner.watch_state import WatchState
from tests.unit import sample_run
from watchdog.records import PhaseReport, StepReport, WorkerPhase


def report(
    rank: int, step: int, t_s: float, *, own_s: float = 0.1, step_s: float = 0.2
) -> StepReport:
    return StepReport(
        t_s=t_s, attempt=0, generation=0, rank=rank, step=step, own_s=own_s, step_s=step_s
    )


def healths(ranks: LiveRanks) -> dict[int, Health]:
    return {line.rank: line.health for line in ranks.lines()}


def test_the_curve_is_the_mean_over_ranks() -> None:
    curve = LiveCurve()
    for value in (1.0, 3.0, math.nan):
        curve.add(1, value)
    curve.add(2, None)
    assert curve.points == [(1, 2.0)]


def test_a_long_curve_stays_bounded_and_spans_the_run() -> None:
    curve = LiveCurve(max_points=64)
    for step in range(1, 100_001):
        curve.add(step, float(step))
    points = curve.points
    assert len(points) <= 64
    assert points[0][0] < 3000
    assert points[-1][0] > 97_000
    assert all(abs(x - y) <= 2048 for x, y in points)


def test_what_is_taken_back_is_kept_apart() -> None:
    curve = LiveCurve()
    for step in range(1, 11):
        curve.add(step, 1.0)
    curve.take_back(6)
    curve.add(7, 2.0)
    assert [x for x, _ in curve.points] == [1, 2, 3, 4, 5, 6, 7]
    assert [x for x, y in curve.superseded if math.isfinite(y)] == [7, 8, 9, 10]


def test_ranks_that_have_not_been_heard_of_are_silent_after_a_while() -> None:
    ranks = LiveRanks()
    ranks.start(2)
    ranks.step(report(0, 1, 5.0))
    ranks.clock(11.0)
    assert healths(ranks) == {0: Health.WELL, 1: Health.SILENT}


def test_a_rank_that_takes_longer_before_it_waits_is_slow() -> None:
    ranks = LiveRanks()
    for step in range(1, 5):
        for rank in range(3):
            ranks.step(report(rank, step, float(step), own_s=0.5 if rank == 1 else 0.1, step_s=0.6))
    assert healths(ranks) == {0: Health.WELL, 1: Health.SLOW, 2: Health.WELL}
    assert ranks.lines()[0].rank == 1  # the worst comes first


def in_place(phase: WorkerPhase) -> PhaseReport:
    return PhaseReport(
        t_s=4.0,
        attempt=0,
        generation=0,
        rank=0,
        world_size=1,
        step=2,
        phase=phase,
        stuck_s=3.0,
    )


def test_a_rank_in_one_place_says_where_until_its_next_step() -> None:
    ranks = LiveRanks()
    ranks.step(report(0, 1, 1.0))
    ranks.phase(in_place(WorkerPhase.ALL_REDUCE))
    assert healths(ranks) == {0: Health.STUCK}
    assert ranks.lines()[0].note == "all reduce for 3 s"
    ranks.step(report(0, 2, 5.0))
    assert healths(ranks) == {0: Health.WELL}


def test_a_rank_that_validates_is_well() -> None:
    ranks = LiveRanks()
    ranks.phase(in_place(WorkerPhase.VALIDATE))
    assert healths(ranks) == {0: Health.WELL}
    assert ranks.lines()[0].note == "validate for 3 s"


def test_a_rank_that_lags_is_behind_and_the_culprit_of_a_failure_gone() -> None:
    ranks = LiveRanks()
    ranks.step(report(0, 9, 1.0))
    ranks.step(report(1, 4, 1.0))
    assert healths(ranks)[1] is Health.BEHIND
    ranks.lose(0)
    assert census(ranks.lines()) == {Health.GONE: 1, Health.BEHIND: 1}


def test_the_sample_run_ends_as_its_records_say() -> None:
    state = WatchState("sample")
    for record in sample_run.records():
        state.observe(record)
    for line in sample_run.ledger():
        state.note(line)
    assert (state.step, state.generation, state.attempt) == (sample_run.LAST_STEP, 2, 1)
    assert state.counts == {"incidents": 1, "rollbacks": 1, "restarts": 1}
    assert state.phase == "finished"
    assert state.goodput_ratio is not None
    assert [x for x, _ in state.curves.loss.points] == list(range(1, sample_run.LAST_STEP + 1))
    assert healths(state.ranks) == {0: Health.DONE, 1: Health.DONE}


def test_a_trace_that_was_read_in_part_has_no_goodput() -> None:
    state = WatchState("long")
    for record in sample_run.records():
        state.observe(record)
    state.is_whole = False
    assert state.goodput_ratio is None


def test_times_that_no_clock_shows_leave_the_time_to_go_unknown() -> None:
    state = WatchState("odd", max_steps=100)
    for step, t_s in ((1, -1e308), (2, 1e308)):
        state.observe(report(0, step, t_s))
    assert state.eta_s is None
