"""A run as plain records and ledger lines: NaN at 40, a rollback to 32, a crash, a good end."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from watchdog.records import (
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    EvalReport,
    Outcome,
    Record,
    RollbackDone,
    RunEnded,
    RunStarted,
    StepReport,
    Storage,
    Tick,
)

START_S = 1_700_000_000.0
STEP_S = 0.5
LAST_STEP = 160
RANKS = 2

JOB_YAML = """\
name: vesuvius
description: ink in a scroll
workers: 2
train: {max_steps: 160, batch_size: 8, lr: 0.002}
"""


def loss_at(step: int, rank: int, generation: int = 0) -> float:
    """Return a loss that falls with some noise, the same for the same arguments."""
    noise = random.Random(step * 31 + rank + generation * 7919).gauss(0, 0.02)
    return 0.25 + 0.75 * math.exp(-step / 60) + noise


def _steps(first: int, last: int, *, t_s: float, generation: int, attempt: int) -> list[Record]:
    lr = 0.002 if generation == 0 else 0.001
    out: list[Record] = []
    for step in range(first, last + 1):
        t_s += STEP_S
        for rank in range(RANKS):
            is_bad = generation == 0 and step >= 40
            report = StepReport(
                t_s=t_s,
                attempt=attempt,
                generation=generation,
                rank=rank,
                step=step,
                loss=math.nan if is_bad else loss_at(step, rank, generation),
                grad_norm=math.nan if is_bad else 2.0 * loss_at(step, 7),
                lr=lr * min(1.0, step / 10),
                is_finite=not is_bad,
                is_applied=not is_bad,
                step_s=STEP_S + 0.01 * rank,
                data_s=0.02,
            )
            out.append(report)
        if step % 20 == 0:
            out.append(_evaluation(step, t_s + 0.4, generation, attempt))
            t_s += 0.4
        if step % 16 == 0:
            out.append(_checkpoint(step, t_s, generation, attempt, Storage.MEMORY))
        if step % 32 == 0:
            out.append(_checkpoint(step, t_s, generation, attempt, Storage.DURABLE))
    return out


def _evaluation(step: int, t_s: float, generation: int, attempt: int) -> EvalReport:
    return EvalReport(
        t_s=t_s,
        attempt=attempt,
        generation=generation,
        step=step,
        val_loss=loss_at(step, 9) + 0.05,
        val_metric=0.9 - loss_at(step, 8) / 2,
        seconds=0.4,
    )


def _checkpoint(
    step: int, t_s: float, generation: int, attempt: int, storage: Storage
) -> CheckpointSaved:
    return CheckpointSaved(
        t_s=t_s,
        attempt=attempt,
        generation=generation,
        step=step,
        storage=storage,
        size_bytes=12_345_678,
        seconds=0.2 if storage is Storage.DURABLE else None,
    )


def records() -> list[Record]:
    """Return the trace: three generations, the second in place, the third a new attempt."""
    out: list[Record] = [
        RunStarted(t_s=START_S, run_id="sample", job="vesuvius", max_steps=LAST_STEP),
        AttemptStarted(t_s=START_S + 6, attempt=0, world_size=RANKS),
    ]
    out += _steps(1, 42, t_s=START_S + 8, generation=0, attempt=0)
    t_s = out[-1].t_s
    out.append(
        RollbackDone(
            t_s=t_s + 0.041,
            attempt=0,
            generation=1,
            verdict_id=1,
            step=42,
            restored_step=32,
            storage=Storage.MEMORY,
            seconds=0.041,
            steps_lost=10,
            skipped_samples=tuple(range(24)),
        )
    )
    out += _steps(33, 100, t_s=t_s + 0.041, generation=1, attempt=0)
    t_s = out[-1].t_s + 3.0
    out += [
        AttemptEnded(
            t_s=t_s, attempt=0, outcome=Outcome.WORKER_DIED, step=100, error="rank 1: SIGKILL"
        ),
        Tick(t_s=t_s + 2),
        AttemptStarted(
            t_s=t_s + 4,
            attempt=1,
            world_size=RANKS,
            restored_step=96,
            storage=Storage.MEMORY,
            generation=2,
            lr_scale=0.5,
        ),
    ]
    out += _steps(97, LAST_STEP, t_s=t_s + 5, generation=2, attempt=1)
    t_s = out[-1].t_s
    out += [
        AttemptEnded(t_s=t_s + 0.5, attempt=1, outcome=Outcome.FINISHED, step=LAST_STEP),
        RunEnded(t_s=t_s + 1, attempt=1, step=LAST_STEP, state="finished", reason="all steps made"),
    ]
    return out


def ledger() -> list[dict[str, Any]]:
    """Return the ledger lines that go with the trace."""

    def line(kind: str, after_s: float, step: int, **data: Any) -> dict[str, Any]:
        attempt = 1 if after_s > 65 else 0
        return {"t_s": START_S + after_s, "kind": kind, "attempt": attempt, "step": step, **data}

    nonfinite, crash = "sample/nonfinite/40", "sample/crash/101"
    return [
        line("run_started", 0, 0, job="vesuvius", max_steps=LAST_STEP),
        line("attempt_started", 6, 0, world_size=RANKS, restored_step=0),
        line("checkpoint_saved", 24.4, 32, storage="durable"),
        line("checkpoint_trusted", 26, 32, storage="durable"),
        line("checkpoint_trusted", 26, 32, storage="memory"),
        line("suspect", 26.5, 36, cause="spike", reason="loss 0.71, 4.2 deviations above 0.62"),
        line("incident_opened", 28.5, 42, cause="nonfinite", incident=nonfinite),
        line(
            "verdict",
            28.5,
            42,
            verdict_id=1,
            generation=0,
            cause="nonfinite",
            action="rollback",
            reason="3 of the last 4 steps were not finite on rank 0 and 1, first at step 40",
            onset_step=40,
            lr_scale=0.5,
            incident=nonfinite,
        ),
        line("recovery_started", 28.5, 42, incident=nonfinite),
        line(
            "recovery_done",
            28.9,
            42,
            verdict_id=1,
            mechanism="in_place",
            restored_step=32,
            seconds=0.041,
            steps_lost=10,
            skipped_samples=list(range(24)),
            incident=nonfinite,
            **{"from": "memory"},
        ),
        line("incident_closed", 50, 72, incident=nonfinite),
        line(
            "proof",
            50,
            72,
            verdict_id=1,
            incident=nonfinite,
            forecast=0.47,
            actual=0.468,
            steps_lost=10,
            seconds_lost=5.4,
            helped=True,
            sentence="The loss is back at its forecast: 0.468 against 0.470; it cost 10 steps.",
        ),
        line("checkpoint_saved", 62, 96, storage="durable"),
        line("checkpoint_trusted", 63, 96, storage="durable"),
        line("checkpoint_trusted", 63, 96, storage="memory"),
        line("attempt_ended", 66, 100, outcome="worker_died", error="rank 1: SIGKILL")
        | {"attempt": 0},
        line(
            "verdict",
            66,
            100,
            verdict_id=2,
            generation=1,
            cause="crash",
            action="restart",
            reason="worker of rank 1 died of SIGKILL at step 100",
            onset_step=101,
            lr_scale=0.5,
            incident=crash,
        ),
        line("attempt_started", 70, 96, world_size=RANKS, restored_step=96),
        line(
            "recovery_done",
            70,
            100,
            verdict_id=2,
            mechanism="restart",
            restored_step=96,
            seconds=4.2,
            steps_lost=4,
            skipped_samples=[],
            incident=crash,
            **{"from": "memory"},
        ),
        line("checkpoint_saved", 90, 128, storage="durable"),
        line("attempt_ended", 110, LAST_STEP, outcome="finished"),
        line("run_ended", 110.5, LAST_STEP, state="finished", reason="all steps made"),
    ]


def json_lines(objects: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a JSON lines file."""
    return "".join(json.dumps(item) + "\n" for item in objects)


def write_run(folder: Path) -> Path:
    """Write the files of the run into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.yaml").write_text(JOB_YAML)
    (folder / "trace.jsonl").write_text(json_lines([r.to_json() for r in records()]))
    (folder / "ledger.jsonl").write_text(json_lines(ledger()))
    (folder / "result.json").write_text(
        json.dumps({"state": "finished", "step": LAST_STEP, "metrics": {}, "seconds": 110.5})
    )
    return folder
