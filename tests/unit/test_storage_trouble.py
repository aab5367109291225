"""Storage that refuses or damages checkpoints: told once, and never trusted again."""

from __future__ import annotations

from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.interventions import Conclusion
from watchdog.records import (
    AttemptStarted,
    Cause,
    CheckpointFailed,
    CheckpointSaved,
    LedgerEntry,
    LedgerKind,
    Record,
    RunStarted,
    StepReport,
    Storage,
)

FULL = "could not write the checkpoint: No space left on device"


def running() -> Core:
    core = Core(WatchdogConfig())
    core.observe(RunStarted(t_s=0.0, run_id="r", job="template", max_steps=1000))
    core.observe(AttemptStarted(t_s=0.0, attempt=0, world_size=1))
    return core


def saved(step: int) -> CheckpointSaved:
    return CheckpointSaved(
        t_s=float(step), attempt=0, generation=0, step=step, storage=Storage.DURABLE
    )


def failed(step: int, operation: str) -> CheckpointFailed:
    return CheckpointFailed(
        t_s=float(step),
        attempt=0,
        step=step,
        storage=Storage.DURABLE,
        operation=operation,
        error=FULL,
    )


def tell(core: Core, *records: Record) -> list[LedgerEntry]:
    out: list[Conclusion] = []
    for record in records:
        out += core.observe(record)
    return [line for line in out if isinstance(line, LedgerEntry)]


def suspicions(lines: list[LedgerEntry]) -> list[tuple[str, str]]:
    return [
        (line.data["cause"], line.data["status"])
        for line in lines
        if line.kind is LedgerKind.SUSPECT
    ]


def test_a_full_disk_is_told_once_and_its_end_once() -> None:
    core = running()
    lines = tell(core, *(failed(step, "save") for step in (10, 20, 30)))
    assert suspicions(lines) == [("storage", "open")]
    assert "training goes on" in lines[0].data["reason"]
    assert FULL in lines[0].data["reason"]
    assert suspicions(tell(core, saved(40), saved(50))) == [("storage", "recovered")]
    assert suspicions(tell(core, failed(60, "save"))) == [("storage", "open")]
    assert core.snapshot().suspicions == {Cause.STORAGE: 2}
    assert core.snapshot().checkpoint_failures == 4


def test_clean_steps_do_not_end_it_and_nothing_is_done_about_it() -> None:
    core = running()
    tell(core, failed(10, "save"))
    steps = [
        StepReport(t_s=float(s), attempt=0, generation=0, rank=0, step=s, loss=1.0, grad_norm=1.0)
        for s in range(11, 60)
    ]
    assert suspicions(tell(core, *steps)) == []
    assert core.order is None


def test_a_damaged_checkpoint_is_quarantined_though_nobody_heard_of_its_save() -> None:
    core = running()
    lines = tell(core, saved(10), failed(10, "restore"), failed(10, "restore"))
    lines += tell(core, failed(20, "restore"))
    quarantined = [line.step for line in lines if line.kind is LedgerKind.CHECKPOINT_QUARANTINED]
    assert quarantined == [10, 20]
    assert core.history().distrusted_steps == (10, 20)


def test_one_that_could_not_be_read_this_time_may_be_sound() -> None:
    core = running()
    assert tell(core, saved(10), failed(10, "read"))[1:] == []
    assert core.history().distrusted_steps == ()
