"""What the standard loop tells a task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.template.task import SpiralTask
from tests.e2e.gloo_pair import VERDICT, ScriptedChannel, spec
from tests.unit.test_session import run
from watchdog.records import Order, OrderKind, RollbackDone


def test_a_task_is_told_of_every_step_and_of_the_earlier_ones_after_a_rollback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.telemetry._SEND_S", 0.0)
    monkeypatch.setattr("runner.telemetry._LOOK_S", 0.0005)
    told: list[int] = []
    monkeypatch.setattr(SpiralTask, "begin_step", lambda _, step: told.append(step))
    verdict = replace(VERDICT, lr_scale=1.0)
    channel = ScriptedChannel(Order(order_id=1, kind=OrderKind.ROLLBACK, verdict=verdict))
    run(tmp_path, channel, run_spec=spec(40))
    [done] = [r for r in channel.records if isinstance(r, RollbackDone)]
    assert told == [*range(1, done.step + 1), *range(done.restored_step + 1, 41)]
