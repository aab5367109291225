"""What holds for any records: no exception, bounded memory, and one answer."""

import math
import pickle
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.replay.rig import checkpoint, evaluation, noisy, observe_all, report, started
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.foreign import Row, records_of
from watchdog.ledger import ledger_line
from watchdog.records import (
    RECORD_TYPES,
    AttemptEnded,
    AttemptStarted,
    CheckpointFailed,
    CheckpointSaved,
    EvalReport,
    LrChanged,
    Outcome,
    PhaseReport,
    Record,
    RollbackDone,
    RoomAwaited,
    RunEnded,
    RunStarted,
    StepReport,
    Storage,
    Tick,
    Verdict,
    WorkerPhase,
)

WHOLE = st.integers(-2, 40) | st.sampled_from([2**40, 2**53, 10**30, -(10**30)])
NUMBER = st.floats() | st.sampled_from([0.0, -1.0, 1e308, -1e308, 5e-324, math.nan, math.inf])
MAYBE = st.none() | NUMBER
TIME = st.floats(0, 100) | NUMBER
LIFE = {"t_s": TIME, "attempt": st.integers(-1, 3), "step": WHOLE}
GENERATION = {**LIFE, "generation": st.integers(-1, 3)}
STORAGE = st.sampled_from(list(Storage))
RANKS = st.integers(-1, 4) | st.just(10**12)

FIELDS: dict[type[Record], dict[str, st.SearchStrategy[Any]]] = {
    StepReport: {
        **GENERATION,
        "rank": st.integers(-1, 4),
        "loss": MAYBE,
        "grad_norm": MAYBE,
        "lr": MAYBE,
        "is_finite": st.booleans(),
        "is_applied": st.booleans(),
        "step_s": MAYBE,
        "data_s": MAYBE,
        "epoch": MAYBE,
        "samples": st.integers(-5, 5),
        "sample_ids": st.lists(WHOLE, max_size=3).map(tuple),
    },
    EvalReport: {**GENERATION, "val_loss": MAYBE, "val_metric": MAYBE, "seconds": MAYBE},
    CheckpointSaved: {
        **GENERATION,
        "storage": STORAGE,
        "is_finite": st.booleans(),
        "held_steps": st.none() | st.lists(WHOLE, max_size=4).map(tuple),
    },
    LrChanged: {**GENERATION, "verdict_id": st.integers(0, 9), "lr_scale": NUMBER},
    CheckpointFailed: {
        **LIFE,
        "storage": STORAGE,
        "operation": st.sampled_from(["save", "restore", "?"]),
        "error": st.text(max_size=5),
    },
    RollbackDone: {
        **GENERATION,
        "verdict_id": st.integers(0, 9),
        "restored_step": WHOLE,
        "storage": STORAGE,
        "seconds": NUMBER,
        "steps_lost": WHOLE,
    },
    AttemptStarted: {
        "t_s": TIME,
        "attempt": st.integers(-1, 3),
        "world_size": RANKS,
        "restored_step": WHOLE,
        "storage": st.none() | STORAGE,
        "generation": st.integers(-1, 3),
        "lr_scale": NUMBER,
        "dataset_size": st.none() | WHOLE,
    },
    AttemptEnded: {
        **LIFE,
        "outcome": st.sampled_from(list(Outcome)),
        "error": st.none() | st.text(max_size=5),
        "is_node_lost": st.booleans(),
    },
    RunStarted: {
        "t_s": TIME,
        "run_id": st.text(max_size=3),
        "job": st.just("toy"),
        "max_steps": WHOLE,
        "is_resumed": st.booleans(),
    },
    RunEnded: {**LIFE, "state": st.text(max_size=5)},
    PhaseReport: {
        **GENERATION,
        "rank": st.integers(-1, 4),
        "world_size": RANKS,
        "phase": st.sampled_from(list(WorkerPhase)),
        "stuck_s": NUMBER,
        "is_first_step": st.booleans(),
    },
    Tick: {"t_s": TIME},
    RoomAwaited: {"t_s": TIME, "seconds": NUMBER},
}
RECORDS = st.one_of([st.builds(record, **fields) for record, fields in FIELDS.items()])


def test_every_kind_of_record_is_tried() -> None:
    assert set(FIELDS) == set(RECORD_TYPES.values())


@settings(max_examples=150, deadline=None)
@given(st.lists(RECORDS, max_size=60))
def test_nothing_raises_whatever_the_records_say(records: list[Record]) -> None:
    policy = {"lr": "probe", "lift_after_steps": 2}
    core = Core(WatchdogConfig.model_validate({"policy": policy}))
    for record in records:
        core.observe(record)
    core.history()
    core.trust()
    snapshot = core.snapshot()
    assert snapshot.records_total == len(records)
    assert snapshot.detectors_disabled == ()


@settings(max_examples=100, deadline=None)
@given(st.lists(MAYBE, min_size=30, max_size=120))
def test_no_sequence_of_losses_disables_a_detector(losses: list[float | None]) -> None:
    core = Core(WatchdogConfig())
    observe_all(core, [*started(), *(report(s, x, lr=x) for s, x in enumerate(losses, start=1))])
    assert core.snapshot().detectors_disabled == ()


def three_ranks() -> dict[int, list[StepReport]]:
    """Return three ranks' reports of a run that spikes for good at 60 and is NaN from 110 on."""
    loss = noisy(2.0, 0.01, seed=4)

    def at(step: int, rank: int) -> float:
        if step >= 110:
            return math.nan
        return loss(0, 3 * step + rank) * (3.0 if step >= 60 else 1.0)

    return {
        rank: [
            report(step, at(step, rank), rank=rank, sample_ids=(step,)) for step in range(1, 121)
        ]
        for rank in range(3)
    }


def story(records: list[Record], mode: str) -> list[tuple[Any, ...]]:
    """Return what was concluded, without when it was known."""
    core = Core(WatchdogConfig.model_validate({"mode": mode}))
    lines = [ledger_line(c) for c in observe_all(core, records)]
    names = ("kind", "cause", "status", "action", "onset_step", "lr_scale", "incident")
    return [tuple(line.get(name) for name in names) for line in lines]


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(["act", "observe"]))
def test_order_between_the_ranks_does_not_matter(random: Any, mode: str) -> None:
    ranks = three_ranks()
    in_order = [r for reports in zip(*ranks.values(), strict=True) for r in reports]
    shuffled: list[Record] = []
    left = {rank: list(reversed(reports)) for rank, reports in ranks.items()}
    while any(left.values()):
        oldest = min(reports[-1].step for reports in left.values() if reports)
        ready = [r for r, reports in left.items() if reports and reports[-1].step < oldest + 5]
        shuffled.append(left[random.choice(ready)].pop())
    start = started(world_size=3)
    assert story([*start, *shuffled], mode) == story([*start, *in_order], mode)


def test_memory_is_bounded() -> None:
    def size_after(steps: int) -> int:
        core = Core(WatchdogConfig())
        observe_all(core, started())
        loss = noisy(2.0, 0.01, seed=2)
        for step in range(1, steps):
            core.observe(report(step, loss(0, step), lr=1e-3, sample_ids=(step, step + 1)))
            if step % 8 == 0:
                core.observe(checkpoint(step, storage=Storage.MEMORY))
            if step % 20 == 0:
                core.observe(evaluation(step, val_loss=loss(0, step)))
        return len(pickle.dumps(core))

    assert size_after(20_000) < 1.2 * size_after(10_000)


def test_one_verdict_for_one_cause_whatever_is_repeated() -> None:
    """Reports that arrive twice, as they do when an answer was lost, change nothing."""
    ranks = three_ranks()
    once: list[Record] = [r for reports in zip(*ranks.values(), strict=True) for r in reports]
    twice: list[Record] = [r for r in once for _ in range(2)]
    assert story([*started(world_size=3), *twice], "act") == story(
        [*started(world_size=3), *once], "act"
    )
    verdicts = [
        c
        for c in observe_all(Core(WatchdogConfig()), [*started(world_size=3), *once])
        if isinstance(c, Verdict)
    ]
    assert len(verdicts) == 1


def resumed(losses: list[float], at: int, back: int) -> list[Record]:
    """Return a run that was restarted at step `at` from a checkpoint `back` steps before."""
    before = [report(s, x) for s, x in enumerate(losses[:at], start=1)]
    restored = max(0, at - back)
    start = AttemptStarted(
        t_s=float(at), attempt=1, generation=1, world_size=1, restored_step=restored
    )
    after = [
        report(s, losses[s - 1], attempt=1, generation=1, t_s=float(s + back))
        for s in range(restored + 1, len(losses) + 1)
    ]
    return [*started(), *before, start, *after]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 20), st.integers(40, 380), st.integers(0, 60), st.booleans())
def test_calm_run_stays_calm_wherever_it_is_resumed_and_whatever_is_repeated(
    seed: int, at: int, back: int, is_twice: bool
) -> None:
    records = resumed(spiked_or_calm("calm", seed), at, back)
    told = [r for r in records for _ in range(1 + is_twice)]
    assert {line[0] for line in story(told, "act")} == {"run_started", "attempt_started"}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 20), st.integers(40, 280), st.integers(0, 60))
def test_spike_is_found_where_it_is_in_a_run_that_was_resumed_before_it(
    seed: int, at: int, back: int
) -> None:
    found = story(resumed(spiked_or_calm("spike", seed), at, back), "act")
    assert [(line[1], line[3], line[4]) for line in found if line[0] == "verdict"] == [
        ("spike", "rollback", 300)
    ]


def spiked_or_calm(kind: str, seed: int) -> list[float]:
    """Return a run of 400 losses that falls, with one thing wrong with it from step 300 on."""
    noise = noisy(1.0, 0.02, seed=seed)
    losses = [3.0 * step**-0.1 * noise(0, step) for step in range(1, 401)]
    late = range(299, 400)
    match kind:
        case "spike":
            losses[299:] = [1.6 * losses[i] for i in late]
        case "healing":
            losses[299:] = [losses[i] * (1 + 1.3 * 0.8 ** (i - 299)) for i in late]
        case "dead":
            losses[299:] = [losses[299]] * 101
        case _:
            pass
    return losses


def verdicts_on(losses: list[float]) -> list[tuple[str, int, int]]:
    core = Core(WatchdogConfig(mode="observe"))
    reports = [report(step, loss) for step, loss in enumerate(losses, start=1)]
    found = observe_all(core, [*started(), *reports])
    return [(v.cause.value, v.onset_step, v.step) for v in found if isinstance(v, Verdict)]


KIND = st.sampled_from(["calm", "spike", "healing", "dead"])


@settings(max_examples=25, deadline=None)
@given(KIND, st.integers(0, 50), st.integers(-20, 20))
def test_scale_of_the_loss_does_not_change_the_verdicts(kind: str, seed: int, power: int) -> None:
    losses = spiked_or_calm(kind, seed)
    assert verdicts_on([loss * 2.0**power for loss in losses]) == verdicts_on(losses)


@settings(max_examples=25, deadline=None)
@given(KIND, st.integers(0, 50), st.sampled_from([-10.0, 0.5, 2.0]))
def test_shift_of_the_loss_does_not_change_what_is_found(
    kind: str, seed: int, shift: float
) -> None:
    losses = spiked_or_calm(kind, seed)
    expected = {cause: onset for cause, onset, _ in verdicts_on(losses)[:1]}
    found = {cause: onset for cause, onset, _ in verdicts_on([x + shift for x in losses])[:1]}
    assert found.keys() == expected.keys()
    assert all(abs(found[cause] - expected[cause]) <= 2 for cause in found)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 20), st.lists(st.integers(1, 60), min_size=5, max_size=30))
def test_judging_is_the_same_in_any_batching(seed: int, sizes: list[int]) -> None:
    """Batches are lists of records; the core sees the same order and keeps no clock."""
    records: list[Record] = [*started()]
    records += [report(s, x) for s, x in enumerate(spiked_or_calm("spike", seed), start=1)]
    one_by_one = story(records, "observe")
    core = Core(WatchdogConfig(mode="observe"))
    rest, out = list(records), []
    for size in [*sizes, len(records)]:
        out += observe_all(core, rest[:size])
        del rest[:size]
        core.snapshot()
    names = ("kind", "cause", "status", "action", "onset_step", "lr_scale", "incident")
    assert [tuple(ledger_line(c).get(name) for name in names) for c in out] == one_by_one


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), MAYBE, MAYBE, MAYBE), max_size=120))
def test_no_foreign_log_raises_however_its_steps_run(
    rows: list[tuple[int, float | None, float | None, float | None]],
) -> None:
    """Steps go back and repeat, values are missing or impossible."""
    core = Core(WatchdogConfig(mode="observe"))
    listed = [
        Row(step=step, epoch=float(step), loss=loss, val_loss=val_loss, lr=lr, grad_norm=lr)
        for step, loss, val_loss, lr in rows
    ]
    for record in records_of("log", listed):
        core.observe(record)
    assert core.snapshot().detectors_disabled == ()
