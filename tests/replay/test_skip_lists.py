"""What a verdict orders to be left out is left out by every attempt that follows, whoever died."""

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.recovery import plan_attempt
from runner.sampler import SampleOrder
from tests.replay.rig import checkpoint, noisy, only, report, started
from watchdog.records import (
    AttemptEnded,
    AttemptStarted,
    Outcome,
    Record,
    RollbackDone,
    RunStarted,
    Storage,
)
from watchdog.service import Service

CALM = noisy(2.2, 0.01, seed=1)
SIZE, BATCH = 64, 2
#: Steps 45 to 47 of the first epochs consume these ordinals; their batches are the bad ones.
BATCHES = [
    SampleOrder(size=SIZE, batch_size=BATCH, seed=3, position=BATCH * (step - 1)).next_batch()
    for step in range(1, 60)
]
BAD = frozenset(ordinal for batch in BATCHES[44:47] for ordinal in batch.ordinals)


def until_the_verdict() -> list[Record]:
    records: list[Record] = [*started(dataset_size=SIZE)]
    for step in range(1, 48):
        loss = math.nan if step >= 45 else CALM(0, step)
        records.append(report(step, loss, sample_ids=BATCHES[step - 1].ordinals))
        if step % 8 == 0:
            records.append(checkpoint(step))
    return records


ROLLED_BACK: list[Record] = [
    RollbackDone(
        t_s=48.0,
        attempt=0,
        generation=1,
        verdict_id=1,
        step=47,
        restored_step=32,
        storage=Storage.DURABLE,
        seconds=0.1,
        steps_lost=15,
        skipped_samples=tuple(sorted(BAD)),
    ),
    *(report(step, CALM(1, step), generation=1, t_s=20.0 + step) for step in range(33, 40)),
]
CRASHED: list[Record] = [AttemptEnded(t_s=60.0, attempt=0, outcome=Outcome.WORKER_DIED, step=39)]
RESUMED: list[Record] = [
    RunStarted(t_s=70.0, run_id="run-1", job="toy", max_steps=10_000, is_resumed=True)
]
SECOND_LIFE: list[Record] = [
    AttemptStarted(
        t_s=71.0,
        attempt=1,
        world_size=1,
        restored_step=32,
        storage=Storage.DURABLE,
        generation=2,
        lr_scale=0.5,
        dataset_size=SIZE,
    )
]


@pytest.mark.parametrize(
    "deaths",
    [
        pytest.param([RESUMED], id="driver dies with the verdict pending"),
        pytest.param([ROLLED_BACK, RESUMED], id="driver dies after the rollback"),
        pytest.param([ROLLED_BACK, CRASHED], id="worker dies after the rollback"),
        pytest.param(
            [CRASHED, RESUMED], id="worker dies with the verdict pending, then the driver"
        ),
        pytest.param([ROLLED_BACK, RESUMED, SECOND_LIFE, RESUMED], id="driver dies twice"),
    ],
)
def test_no_attempt_consumes_a_bad_batch_again(tmp_path: Path, deaths: list[list[Record]]) -> None:
    for records in (until_the_verdict(), *deaths):
        service = Service(tmp_path, only("nonfinite"), clock=lambda: 0.0)
        service.exchange(records)
        service.close()
    service = Service(tmp_path, only("nonfinite"), clock=lambda: 0.0)
    history = service.history()
    service.close()
    plan = plan_attempt(history, history.pending_verdict, (), tuple(range(0, 48, 8)))
    assert set(plan.skip_samples) >= BAD
    assert plan.lr_scale == 0.5
    assert plan.restore[0].step <= 40
    consumed = _consumed(plan.restore[0].step, plan.skip_samples, steps=40)
    assert not BAD & consumed
    assert len(consumed) == 40 * BATCH


def _consumed(step: int, skip: tuple[int, ...], steps: int) -> set[int]:
    order = SampleOrder(size=SIZE, batch_size=BATCH, seed=3, position=BATCH * step, skip=skip)
    return {ordinal for _ in range(steps) for ordinal in order.next_batch().ordinals}


def test_without_the_list_the_bad_batches_would_come_again() -> None:
    consume: Callable[..., set[int]] = _consumed
    assert consume(32, (), steps=40) >= BAD


def test_a_burst_on_very_many_ranks_is_a_short_order_and_a_whole_list_for_the_next_attempt(
    tmp_path: Path,
) -> None:
    ranks, share = 512, 4
    service = Service(tmp_path, only("nonfinite"), clock=lambda: 0.0)
    service.exchange(started(world_size=ranks, dataset_size=10**7))
    order = None
    for step in range(1, 13):
        loss = math.nan if step >= 10 else 1.0
        first = step * ranks * share
        reports = []
        for rank in range(ranks):
            own = tuple(range(first + rank * share, first + (rank + 1) * share))
            reports.append(report(step, loss, rank=rank, sample_ids=own))
        order = service.exchange(reports)
    assert order is not None
    assert order.verdict is not None
    assert len(pickle.dumps(order)) < 2000
    batches = {ordinal // (ranks * share) for ordinal in order.verdict.skip_samples}
    assert batches == {10, 11, 12}
    died = AttemptEnded(t_s=14.0, attempt=0, outcome=Outcome.WORKER_DIED, step=12)
    verdict = service.attempt_ended(died)
    history = service.history()
    service.close()
    plan = plan_attempt(history, verdict, (), (0,))
    bad = set(range(10 * ranks * share, 13 * ranks * share))
    assert bad - set(plan.skip_samples) == set()
