"""Hangs: who is told apart from whom, by phase, and what must never be taken for one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.replay.rig import (
    evaluation,
    lines_of,
    observe_all,
    only,
    report,
    started,
    verdicts_of,
)
from watchdog.core import Core
from watchdog.interventions import Conclusion
from watchdog.records import (
    Action,
    AttemptEnded,
    AttemptStarted,
    Cause,
    CheckpointSaved,
    OrderKind,
    Outcome,
    PhaseReport,
    Record,
    Storage,
    Tick,
    WorkerPhase,
    record_from_json,
)
from watchdog.service import Service
from watchdog.whereabouts import PhaseTimes

LIMITS = {"min_s": 5.0, "max_s": 100.0, "start_s": 50.0, "factor": 10.0}
HANGS = only("hang", detectors={"hang": LIMITS})
Place = tuple[WorkerPhase, int]


def steps(last: int, step_s: float = 0.1, ranks: int = 2) -> list[Record]:
    return [
        report(s, rank=r, step_s=step_s, t_s=float(s))
        for s in range(1, last + 1)
        for r in range(ranks)
    ]


def at(rank: int, place: Place, stuck_s: float, **fields: object) -> PhaseReport:
    values: dict[str, object] = {
        "t_s": 1000.0,
        "attempt": 0,
        "generation": 0,
        "rank": rank,
        "world_size": 2,
        "phase": place[0],
        "step": place[1],
        "stuck_s": stuck_s,
    }
    return PhaseReport(**{**values, **fields})  # type: ignore[arg-type]


def stays(places: Sequence[Place | None], seconds: int, **fields: object) -> list[Record]:
    """Return what the ranks say while each stays where it is; None is a rank that is silent."""
    out: list[Record] = []
    for second in range(1, seconds + 1):
        out += [at(r, p, float(second), **fields) for r, p in enumerate(places) if p is not None]
        out.append(Tick(t_s=1000.0 + second))
    return out


def judged(*records: Record, config: object = HANGS) -> list[Conclusion]:
    return observe_all(Core(config), [*started(world_size=2), *records])  # type: ignore[arg-type]


DATA, BACKWARD = (WorkerPhase.DATA, 41), (WorkerPhase.ALL_REDUCE, 41)


def test_the_rank_that_the_others_wait_for_is_named_and_a_restart_ordered() -> None:
    conclusions = judged(*steps(40), *stays([BACKWARD, DATA], 8))
    [verdict] = verdicts_of(conclusions)
    assert (verdict.cause, verdict.action, verdict.rank) == (Cause.STALL, Action.RESTART, 1)
    assert "rank 1 has not left 'data' for 5 s in step 41, and rank 0 waits" in verdict.reason
    assert "detectors.hang.min_s=5" in verdict.reason
    assert [line["cause"] for line in lines_of(conclusions, "incident_opened")] == ["stall"]


def test_a_collective_that_hangs_itself_has_no_culprit() -> None:
    [verdict] = verdicts_of(judged(*steps(40), *stays([BACKWARD, BACKWARD], 8)))
    assert verdict.rank is None
    assert "none is behind" in verdict.reason


@pytest.mark.parametrize(
    ("history", "places", "deadline_s"),
    [
        ([], [(WorkerPhase.STARTING, 0)] * 2, 50),
        (steps(4), [(WorkerPhase.COMPUTE, 5)] * 2, 50),
        (steps(40), [BACKWARD, DATA], 5),
        (steps(40, step_s=2.0), [BACKWARD, DATA], 20),
        (steps(40, step_s=30.0), [BACKWARD, DATA], 100),
        (steps(40), [(WorkerPhase.GATHER, 40), (WorkerPhase.VALIDATE, 40)], 100),
        (
            [*steps(40), evaluation(40, seconds=3.0)],
            [(WorkerPhase.GATHER, 40), (WorkerPhase.VALIDATE, 40)],
            30,
        ),
        (steps(40), [(WorkerPhase.CHECKPOINT, 40), (WorkerPhase.ALL_REDUCE, 41)], 100),
        (
            [
                *steps(40),
                CheckpointSaved(
                    t_s=40.0, attempt=0, generation=0, step=40, storage=Storage.DURABLE, seconds=1.0
                ),
            ],
            [(WorkerPhase.CHECKPOINT, 40), (WorkerPhase.ALL_REDUCE, 41)],
            10,
        ),
    ],
    ids=[
        "start-up",
        "too few steps known",
        "fast steps: the floor",
        "slow steps: a multiple",
        "very slow steps: the ceiling",
        "first validation: the ceiling",
        "validation with history",
        "first checkpoint: the ceiling",
        "checkpoint with history",
    ],
)
def test_the_deadline_is_that_of_the_phase(
    history: list[Record], places: list[Place], deadline_s: int
) -> None:
    assert verdicts_of(judged(*history, *stays(places, deadline_s - 1))) == []
    assert len(verdicts_of(judged(*history, *stays(places, deadline_s)))) == 1


def test_a_slow_first_step_is_no_hang() -> None:
    waiting = stays([BACKWARD, (WorkerPhase.COMPUTE, 41)], 49, is_first_step=True)
    assert verdicts_of(judged(*steps(40), *waiting)) == []


@pytest.mark.parametrize(
    "places", [[BACKWARD, None], [None, DATA], [None, None]], ids=["culprit", "peer", "all"]
)
def test_a_rank_that_is_not_heard_of_makes_blind_and_not_sure(places: list[Place | None]) -> None:
    assert verdicts_of(judged(*steps(40), *stays(places, 3000))) == []


def test_a_rank_that_falls_silent_is_blind_although_it_was_heard() -> None:
    records = [*stays([BACKWARD, DATA], 4), *stays([BACKWARD, None], 3000)]
    assert verdicts_of(judged(*steps(40), *records)) == []


def test_a_paused_process_that_wakes_up_is_no_hang() -> None:
    """Its own clock left the pause out; the peer had waited for it all the while."""
    paused = stays([BACKWARD, None], 600)
    awake: list[Record] = [at(0, BACKWARD, 601.0), at(1, DATA, 1.0), Tick(t_s=1601.0)]
    assert verdicts_of(judged(*steps(40), *paused, *awake)) == []


def test_a_step_taken_meanwhile_starts_the_count_anew() -> None:
    almost = stays([BACKWARD, DATA], 4)
    assert verdicts_of(judged(*steps(40), *almost, *steps(42)[80:], *stays([None, DATA], 2))) == []


def test_a_rank_that_joins_is_not_behind_those_of_the_generation_before() -> None:
    old = [at(r, (WorkerPhase.COMPUTE, 41), 400.0) for r in (0, 1)]
    new = stays([(WorkerPhase.STARTING, 0)] * 2, 30, attempt=1, generation=1)
    ended = AttemptEnded(t_s=50.0, attempt=0, outcome=Outcome.WORKER_DIED, step=40, error="killed")
    late = stays([(WorkerPhase.COMPUTE, 41)] * 2, 30)
    conclusions = judged(*steps(40), ended, *old, *new, *late)
    assert [v.cause for v in verdicts_of(conclusions)] == [Cause.CRASH]


def test_the_attempt_that_restarts_may_hang_in_its_turn() -> None:
    ended = AttemptEnded(t_s=50.0, attempt=0, outcome=Outcome.WORKER_DIED, step=40, error="killed")
    starting = stays([(WorkerPhase.STARTING, 0)] * 2, 51, attempt=1, generation=1)
    causes = [v.cause for v in verdicts_of(judged(*steps(40), ended, *starting))]
    assert causes == [Cause.CRASH, Cause.STALL]


def hung_attempt(attempt: int) -> list[Record]:
    begun = AttemptStarted(
        t_s=1.0,
        attempt=attempt,
        world_size=2,
        restored_step=32 if attempt else 0,
        storage=Storage.MEMORY if attempt else None,
        generation=attempt,
    )
    taken = [
        report(s, rank=r, step_s=0.1, attempt=attempt, generation=attempt)
        for s in range(33 if attempt else 1, 41)
        for r in range(2)
    ]
    hang = stays([BACKWARD, DATA], 5, attempt=attempt, generation=attempt)
    died = AttemptEnded(t_s=9.0, attempt=attempt, outcome=Outcome.WORKER_DIED, step=40)
    return [*([begun] if attempt else []), *taken, *hang, died]


def test_the_same_hang_for_ever_ends_in_a_halt_that_says_where_to_look() -> None:
    conclusions = judged(*[r for attempt in range(4) for r in hung_attempt(attempt)])
    verdicts = verdicts_of(conclusions)
    assert [v.action for v in verdicts] == [Action.RESTART] * 3 + [Action.HALT]
    assert {v.cause for v in verdicts} == {Cause.STALL}
    assert "stacks/" in verdicts[-1].reason
    assert "policy.budgets.stall=3" in verdicts[-1].reason


def test_hung_workers_are_told_to_end_and_their_end_is_the_one_ordered(tmp_path: Path) -> None:
    service = Service(tmp_path, HANGS, clock=lambda: 0.0)
    order = service.exchange([*started(world_size=2), *steps(40), *stays([BACKWARD, DATA], 5)])
    assert order is not None
    assert order.kind is OrderKind.ABANDON
    service.request_stop()
    stopping = service.exchange([])
    assert stopping is not None
    assert stopping.kind is OrderKind.ABANDON, "a rank that hangs cannot stop politely"
    verdict = service.attempt_ended(
        AttemptEnded(t_s=9.0, attempt=0, outcome=Outcome.WORKER_DIED, step=40, error="SIGKILL")
    )
    assert verdict == order.verdict
    assert service.exchange([]) is None
    assert service.history().pending_verdict == verdict
    service.close()


def test_a_phase_report_survives_the_trace() -> None:
    told = at(1, DATA, 3.5, is_first_step=True)
    assert record_from_json(told.to_json()) == told


def test_the_usual_step_is_robust_and_unknown_at_first() -> None:
    times = PhaseTimes()
    for _ in range(7):
        times.step(1.0)
    assert times.usual_step_s() is None
    for seconds in [*[1.0] * 100, 500.0, 600.0, float("nan"), None]:
        times.step(seconds)
    assert times.usual_step_s() == 1.0
