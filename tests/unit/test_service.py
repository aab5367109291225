import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.replay.rig import Rig, noisy, report, started
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.ledger import ledger_line, read_ledger, verdicts
from watchdog.records import (
    Action,
    AttemptEnded,
    Cause,
    OrderKind,
    Outcome,
    Record,
    RollbackDone,
    Storage,
)
from watchdog.service import Service
from watchdog.trace import read_trace

CALM = noisy(2.2, 0.01, seed=1)


Open = Callable[..., Service]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Open]:
    """Return what opens a service over the run's folder, again and again."""
    opened: list[Service] = []

    def open_one(config: WatchdogConfig | None = None) -> Service:
        opened.append(Service(tmp_path, config or WatchdogConfig(), clock=lambda: 1000.0))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def burst() -> list[Record]:
    steps = [report(s, math.nan if s >= 45 else CALM(0, s)) for s in range(1, 48)]
    return [*started(), *steps]


def done(verdict_id: int) -> RollbackDone:
    return RollbackDone(
        t_s=48.0,
        attempt=0,
        generation=1,
        verdict_id=verdict_id,
        step=47,
        restored_step=32,
        storage=Storage.MEMORY,
        seconds=0.1,
        steps_lost=15,
    )


def test_order_is_the_same_for_everyone_until_it_is_carried_out(service: Open) -> None:
    made = service()
    order = made.exchange(burst())
    assert order is not None
    assert order.kind is OrderKind.ROLLBACK
    assert order.verdict is not None
    assert made.exchange([]) == made.exchange([report(48, 1.0, rank=1)]) == order
    assert made.exchange([done(order.verdict.verdict_id)]) is None


def test_verdict_is_on_disk_before_the_order_is_handed_out(service: Open, tmp_path: Path) -> None:
    order = service().exchange(burst())
    assert order is not None
    assert verdicts(read_ledger(tmp_path / "ledger.jsonl")) == [order.verdict]


def test_calm_run_has_no_order(service: Open) -> None:
    assert service().exchange([*started(), report(1), report(2)]) is None


def test_stop_is_ordered_to_all_and_a_halt_goes_before_it(service: Open) -> None:
    config = WatchdogConfig.model_validate({"policy": {"budgets": {"nonfinite": 0}}})
    made = service(config)
    made.exchange(started())
    made.request_stop()
    stop = made.exchange([])
    assert stop is not None
    assert stop.kind is OrderKind.STOP
    halt = made.exchange(burst()[2:])
    assert halt is not None
    assert halt.kind is OrderKind.HALT
    assert halt.order_id > stop.order_id
    made.attempt_ended(AttemptEnded(t_s=60.0, attempt=0, outcome=Outcome.HALTED, step=47))
    assert made.exchange([]) is None


def test_stop_after_a_rollback_supersedes_it(service: Open) -> None:
    made = service()
    rollback = made.exchange(burst())
    made.request_stop()
    stop = made.exchange([])
    assert rollback is not None
    assert stop is not None
    assert stop.kind is OrderKind.STOP
    assert stop.order_id > rollback.order_id


@pytest.mark.parametrize("outcome", [Outcome.FINISHED, Outcome.STOPPED, Outcome.HALTED])
def test_planned_end_needs_nothing_and_is_no_verdict_of_the_ledger(
    service: Open, tmp_path: Path, outcome: Outcome
) -> None:
    made = service()
    made.exchange(started())
    verdict = made.attempt_ended(AttemptEnded(t_s=9.0, attempt=0, outcome=outcome, step=4))
    assert verdict.action is Action.CONTINUE
    assert verdicts(read_ledger(tmp_path / "ledger.jsonl")) == []


def test_same_end_told_twice_gets_the_same_answer(service: Open) -> None:
    made = service()
    made.exchange(started())
    ended = AttemptEnded(t_s=9.0, attempt=0, outcome=Outcome.WORKER_DIED, step=4)
    verdict = made.attempt_ended(ended)
    assert (verdict.action, verdict.cause) == (Action.RESTART, Cause.CRASH)
    assert made.attempt_ended(ended) == verdict


def test_tick_carries_the_time_of_the_clock(service: Open) -> None:
    made = service()
    made.tick()
    assert made.snapshot().last_tick_t_s == 1000.0


class Seconds:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def silent_for(made: Service, clock: Seconds, seconds: int) -> None:
    for _ in range(seconds):
        clock.now_s += 1.0
        made.tick()


def test_silence_is_told_live_and_its_trace_replays_to_the_same_lines(tmp_path: Path) -> None:
    clock = Seconds()
    made = Service(tmp_path, WatchdogConfig(), clock)
    made.exchange(started())
    for step in range(1, 40):
        clock.now_s = float(step)
        made.exchange([report(step, CALM(0, step))])
    silent_for(made, clock, 130)
    assert made.snapshot().suspicions == {"stall": 1}
    made.exchange([report(40, 2.2, t_s=clock.now_s)])
    made.close()
    core = Core(WatchdogConfig())
    again = [c for record in read_trace(tmp_path / "trace.jsonl") for c in core.observe(record)]
    assert read_ledger(tmp_path / "ledger.jsonl") == [ledger_line(c) for c in again]
    stalls = [line for line in map(ledger_line, again) if line.get("cause") == "stall"]
    assert [(line["status"], line["onset_step"]) for line in stalls] == [
        ("open", 40),
        ("recovered", 40),
    ]


def test_ticks_are_kept_only_while_nothing_is_heard(tmp_path: Path) -> None:
    clock = Seconds()
    made = Service(tmp_path, WatchdogConfig(), clock)
    made.exchange(started())
    for step in range(1, 40):
        clock.now_s += 0.9
        made.exchange([report(step, 2.2, t_s=clock.now_s)])
        made.tick()
    silent_for(made, clock, 5)
    assert made.snapshot().last_tick_t_s == clock.now_s
    made.close()
    kinds = [record.kind for record in read_trace(tmp_path / "trace.jsonl")]
    assert (kinds.count("step"), kinds.count("tick"), kinds[-5:]) == (39, 5, ["tick"] * 5)


def test_history_tells_what_was_ordered(service: Open) -> None:
    made = service()
    losses = {s: math.nan if s >= 45 else CALM(0, s) for s in range(1, 48)}
    made.exchange([*started(), *(report(s, x, sample_ids=(s,)) for s, x in losses.items())])
    assert made.lr_scale() == 0.5
    assert made.skip_samples() == (45, 46, 47)


@pytest.mark.parametrize("cut", [1, 20, 60, 100, 130, 150])
def test_service_that_died_goes_on_as_if_it_had_not(
    service: Open, tmp_path: Path, cut: int
) -> None:
    run = Rig(lambda g, s: math.nan if g == 0 and s in (45, 46, 47) else CALM(g, s), 70).play()
    first = service()
    for record in run.records[:cut]:
        first.exchange([record])
    first.close()
    second = service()
    for record in run.records[cut:]:
        second.exchange([record])
    assert [line["kind"] for line in read_ledger(tmp_path / "ledger.jsonl")] == [
        ledger_line(conclusion)["kind"] for conclusion in run.out
    ]
    assert second.snapshot() == run.core.snapshot()


def test_pending_verdict_is_pending_again_after_a_restart(service: Open, tmp_path: Path) -> None:
    first = service()
    order = first.exchange(burst())
    first.close()
    second = service()
    assert second.exchange([]) == order
    assert second.history().pending_verdict is not None
    assert len(verdicts(read_ledger(tmp_path / "ledger.jsonl"))) == 1


def test_conclusions_that_were_not_written_any_more_are_written_on_restart(
    service: Open, tmp_path: Path
) -> None:
    first = service()
    first.exchange(burst())
    first.close()
    ledger = tmp_path / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:-2]) + lines[-2][:20])  # torn within the verdict
    service().close()
    assert ledger.read_text().splitlines(keepends=True) == lines


def test_trace_of_a_run_replays_to_the_verdicts_of_its_ledger(
    service: Open, tmp_path: Path
) -> None:
    run = Rig(lambda g, s: math.nan if g < 2 and s in (45, 46, 47) else CALM(g, s), 70).play()
    made = service()
    for record in run.records:
        made.exchange([record])
    made.close()
    core = Core(WatchdogConfig())
    again = [c for record in read_trace(tmp_path / "trace.jsonl") for c in core.observe(record)]
    written = read_ledger(tmp_path / "ledger.jsonl")
    assert len(verdicts(written)) == 2
    assert [v for v in again if getattr(v, "kind", None) is None] == verdicts(written)


def test_ranks_may_exchange_at_the_same_time(service: Open, tmp_path: Path) -> None:
    made = service()
    made.exchange(started(world_size=4))

    def rank(number: int) -> None:
        for step in range(1, 51):
            made.exchange([report(step, 1.0, rank=number)])

    threads = [threading.Thread(target=rank, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = made.snapshot()
    assert (snapshot.step, snapshot.samples_total) == (50, 200)
    assert len(list(read_trace(tmp_path / "trace.jsonl"))) == 202
