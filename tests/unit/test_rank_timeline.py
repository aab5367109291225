"""Bands of ranks and the lineage of generations: the worst is seen, and memory is bounded."""

from __future__ import annotations

from collections.abc import Iterable

from runner.lineage import LineageBuilder
from runner.rank_band import RankState
from runner.rank_timeline import MAX_STRETCHES, Timeline, TimelineBuilder, merged
from runner.report_timeline import MAX_ROWS, bands_view, lineage_view
from tests.unit import sample_run
from watchdog.records import (
    AttemptEnded,
    AttemptStarted,
    Outcome,
    PhaseReport,
    Record,
    RollbackDone,
    StepReport,
    Storage,
    Tick,
    WorkerPhase,
)


def step(rank: int, number: int, t_s: float, *, own_s: float = 0.1, attempt: int = 0) -> StepReport:
    return StepReport(
        t_s=t_s,
        attempt=attempt,
        generation=attempt,
        rank=rank,
        step=number,
        step_s=1.0,
        own_s=own_s,
    )


def built(records: Iterable[Record]) -> Timeline:
    builder = TimelineBuilder()
    for record in records:
        builder.observe(record)
    return builder.timeline()


def seconds(timeline: Timeline, rank: int) -> dict[RankState, float]:
    """Return how long a rank was in each state."""
    out: dict[RankState, float] = {}
    for span in dict(timeline.bands)[rank]:
        out[span.state] = out.get(span.state, 0.0) + (span.end - span.begin) * timeline.width_s
    return out


def two_ranks(*, slow: float = 0.1) -> list[Record]:
    out: list[Record] = [AttemptStarted(t_s=0.0, attempt=0, world_size=2)]
    for number in range(1, 21):
        out += [step(0, number, 5.0 + number), step(1, number, 5.0 + number, own_s=slow)]
    return out


def test_no_records_no_bands() -> None:
    assert built([]).bands == ()
    assert bands_view(built([])).rows == ()


def test_a_rank_is_starting_until_its_first_step_and_then_training() -> None:
    timeline = built(two_ranks())
    found = seconds(timeline, 0)
    assert set(found) == {RankState.STARTING, RankState.TRAINING}
    assert abs(found[RankState.STARTING] - 5.0) <= 2 * timeline.width_s
    assert abs(found[RankState.TRAINING] - 20.0) <= 2 * timeline.width_s


def test_a_first_step_that_comes_before_its_attempt_ends_the_start_too() -> None:
    started = AttemptStarted(t_s=6.1, attempt=0, world_size=2)
    timeline = built([Tick(t_s=0.0), step(1, 1, 6.0), started, step(0, 1, 6.2), step(1, 2, 7.0)])
    for rank in (0, 1):
        assert seconds(timeline, rank)[RankState.STARTING] >= 5.0


def test_a_rank_that_died_is_gone_until_its_next_step_while_the_other_recovers() -> None:
    died = AttemptEnded(t_s=26.0, attempt=0, outcome=Outcome.WORKER_DIED, step=20, rank=1)
    again: list[Record] = [AttemptStarted(t_s=30.0, attempt=1, world_size=2, restored_step=16)]
    again += [step(rank, 17, 36.0, attempt=1) for rank in (0, 1)]
    timeline = built([*two_ranks(), died, *again])
    assert seconds(timeline, 1)[RankState.GONE] >= 9.0
    assert RankState.GONE not in seconds(timeline, 0)
    assert seconds(timeline, 0)[RankState.RECOVERING] >= 8.0
    assert [event.words for event in timeline.events] == [
        "worker died",
        "attempt 1 began with 2 ranks",
    ]


def test_the_culprit_of_a_hang_is_hung_and_the_other_waits_for_it() -> None:
    waits = [
        PhaseReport(
            t_s=25.0 + second,
            attempt=0,
            generation=0,
            rank=0,
            world_size=2,
            step=21,
            phase=WorkerPhase.ALL_REDUCE,
            stuck_s=float(second),
        )
        for second in range(1, 31)
    ]
    ended = AttemptEnded(t_s=56.0, attempt=0, outcome=Outcome.HUNG, step=20, rank=1)
    timeline = built([*two_ranks(), *waits, ended])
    assert seconds(timeline, 1)[RankState.HUNG] >= 30.0
    assert seconds(timeline, 0)[RankState.WAITING] >= 29.0


def test_a_rank_that_keeps_the_others_waiting_is_slow() -> None:
    timeline = built(two_ranks(slow=0.6))
    assert RankState.SLOW in seconds(timeline, 1)
    assert RankState.SLOW not in seconds(timeline, 0)


def test_a_run_that_died_before_its_first_step_shows_how_long_it_tried() -> None:
    started = AttemptStarted(t_s=10.0, attempt=0, world_size=1)
    ended = AttemptEnded(t_s=40.0, attempt=0, outcome=Outcome.EXCEPTION, step=0, rank=0)
    timeline = built([Tick(t_s=0.0), started, ended, Tick(t_s=100.0)])
    assert seconds(timeline, 0)[RankState.STARTING] >= 39.0
    assert timeline.count * timeline.width_s >= 100.0


def test_a_long_run_has_no_more_stretches_than_a_short_one() -> None:
    timeline = built(step(0, number, 3.0 * number) for number in range(1, 20_001))
    assert timeline.count <= MAX_STRETCHES
    (_, spans) = timeline.bands[0]
    assert spans[-1].state is RankState.TRAINING
    assert spans[-1].end == timeline.count


def test_many_ranks_share_rows_that_show_the_worst_of_them() -> None:
    records: list[Record] = [step(rank, 1, 10.0) for rank in range(1000)]
    records.append(AttemptEnded(t_s=20.0, attempt=0, outcome=Outcome.WORKER_DIED, step=1, rank=700))
    view = bands_view(built([*records, Tick(t_s=60.0)]))
    assert len(view.rows) <= MAX_ROWS
    gone = [row.label for row in view.rows if "gone" in row.words]
    assert gone == ["ranks 672-703"]


def test_merged_bands_show_the_worst() -> None:
    timeline = built(two_ranks(slow=0.6))
    one = merged([spans for _, spans in timeline.bands], timeline.count)
    assert RankState.SLOW in {span.state for span in one}


def lineage(records: Iterable[Record]) -> list[tuple[int, str, int, int, int]]:
    builder = LineageBuilder()
    for record in records:
        builder.observe(record)
    return [
        (g.number, g.how, g.restored_step, g.kept_step, g.lost_steps) for g in builder.generations()
    ]


def test_the_lineage_tells_where_each_generation_began_and_what_was_lost() -> None:
    assert lineage(sample_run.records()) == [
        (0, "start", 0, 32, 10),
        (1, "in_place", 32, 96, 4),
        (2, "restart", 96, 160, 0),
    ]


def test_steps_that_arrive_before_their_rollback_do_not_hide_how_it_began() -> None:
    done = RollbackDone(
        t_s=9.0,
        attempt=0,
        generation=1,
        verdict_id=1,
        step=20,
        restored_step=16,
        storage=Storage.MEMORY,
        seconds=0.1,
        steps_lost=4,
    )
    early = step(0, 17, 8.0, attempt=1)
    assert lineage([*two_ranks(), early, done])[1] == (1, "in_place", 16, 17, 0)


def test_of_very_many_generations_the_newest_are_shown() -> None:
    builder = LineageBuilder()
    for number in range(100):
        builder.observe(AttemptStarted(t_s=0.0, attempt=number, world_size=1, generation=number))
        builder.observe(step(0, number + 1, 1.0, attempt=number))
    view = lineage_view(builder.generations())
    assert len(view.rows) < 100
    assert view.rows[-1].label == "attempt 99, generation 99"
    assert "older generations" in view.note
