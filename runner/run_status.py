"""What is known of a run from its files alone, whether it lives, ended or was cut off.

The trace of a long run has gigabytes, so only its tail is read; a line that is being written, or
was torn by a crash, is passed over.

Runs in: driver.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.driver_lock import is_driven
from runner.ledger_words import printable
from runner.runs import RunFolder
from watchdog.errors import SpecError
from watchdog.strict_yaml import read_yaml

_FIRST_TAIL_BYTES = 128 * 1024
_LAST_TAIL_BYTES = 2 * 1024 * 1024
#: Beyond 64 bits nothing is a count, and may not fit into a float.
_NO_COUNT = 2**63

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """One row of `list`; None is unknown.

    `state` is running, finished, stopped, halted or failed; interrupted when nobody drives the run
    and it has no end; pending before its first driver. `age_s` is the age of the last record.
    """

    run: str
    job: str | None
    state: str
    step: int | None
    max_steps: int | None
    attempt: int | None
    loss: float | None
    val_metric: float | None
    lr: float | None
    lr_scale: float
    incidents: int
    rollbacks: int
    restarts: int
    last_verdict_reason: str | None
    reason: str | None
    age_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCounts:
    """The whole ledger in numbers; `end` is the last line of its kind if the run has ended."""

    incidents: int = 0
    rollbacks: int = 0
    restarts: int = 0
    lr_scale: float = 1.0
    last_verdict_reason: str | None = None
    end: Line | None = None
    last_t_s: float | None = None
    has_started: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestRecords:
    """The newest facts in the tail of a trace."""

    step: int | None = None
    attempt: int | None = None
    loss: float | None = None
    lr: float | None = None
    val_metric: float | None = None
    last_t_s: float | None = None


def read_status(run: RunFolder, *, t_s: float) -> RunStatus:
    """Return what the files of a run say at `t_s` (now, Unix seconds)."""
    # The lock is asked first: a driver that ends meanwhile has written its end by then.
    is_alive = is_driven(run)
    counts = count_ledger(read_lines(run.ledger))
    latest = latest_records(run.trace)
    result = _read_object(run.result)
    end = counts.end or {}
    job, max_steps = job_and_max_steps(run)
    times = [t for t in (counts.last_t_s, latest.last_t_s) if t is not None]
    ended_step = _whole(end.get("step")) if latest.step is None else latest.step
    return RunStatus(
        run=run.run_id,
        job=job,
        state=_state(is_alive, counts),
        step=ended_step,
        max_steps=max_steps,
        attempt=latest.attempt,
        loss=latest.loss,
        val_metric=latest.val_metric,
        lr=latest.lr,
        lr_scale=counts.lr_scale,
        incidents=counts.incidents,
        rollbacks=counts.rollbacks,
        restarts=counts.restarts,
        last_verdict_reason=counts.last_verdict_reason,
        reason=_text(end.get("reason")) or (_text(result.get("reason")) if end else None),
        age_s=max(0.0, t_s - max(times)) if times else None,
    )


def count_ledger(lines: Sequence[Line]) -> LedgerCounts:
    """Return the numbers of a ledger; a run that was taken up again has no end."""
    verdicts = [line for line in lines if line.get("kind") == "verdict"]
    recoveries = [line for line in lines if line.get("kind") == "recovery_done"]
    scales = [line["lr_scale"] for line in lines if _is_number(line.get("lr_scale"))]
    phases = [line for line in lines if line.get("kind") in ("run_started", "run_ended")]
    ended = bool(phases) and phases[-1]["kind"] == "run_ended"
    times = [line["t_s"] for line in lines if _is_number(line.get("t_s"))]
    return LedgerCounts(
        incidents=sum(line.get("kind") == "incident_opened" for line in lines),
        rollbacks=sum(line.get("mechanism") == "in_place" for line in recoveries),
        restarts=sum(line.get("mechanism") == "restart" for line in recoveries),
        lr_scale=scales[-1] if scales else 1.0,
        last_verdict_reason=_text(verdicts[-1].get("reason")) if verdicts else None,
        end=phases[-1] if ended else None,
        last_t_s=times[-1] if times else None,
        has_started=bool(phases),
    )


def latest_records(trace: Path) -> LatestRecords:
    """Return the newest facts of a trace, reading more of its tail until all are found."""
    size_bytes = _FIRST_TAIL_BYTES
    while True:
        lines = read_lines(trace, tail_bytes=size_bytes)
        found = _latest(lines)
        is_complete = None not in (found.step, found.val_metric)
        if is_complete or size_bytes >= min(_LAST_TAIL_BYTES, _size_bytes(trace)):
            return found
        size_bytes *= 4


def read_lines(path: Path, tail_bytes: int | None = None) -> list[Line]:
    """Return the JSON objects of a file, or of its last `tail_bytes`; torn lines are left out."""
    try:
        with path.open("rb") as file:
            skip = 0 if tail_bytes is None else max(0, _size_bytes(path) - tail_bytes)
            file.seek(skip)
            content = file.read()
    except OSError:
        return []
    return list(_objects(content))


def _objects(content: bytes) -> Iterator[Line]:
    for line in content.split(b"\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _latest(lines: Sequence[Line]) -> LatestRecords:
    steps = [line for line in lines if line.get("kind") == "step"]
    evals = [line for line in lines if line.get("kind") == "eval"]
    times = [line["t_s"] for line in lines if _is_number(line.get("t_s"))]
    metrics = [line["val_metric"] for line in evals if _is_number(line.get("val_metric"))]
    newest = steps[-1] if steps else {}
    # All ranks report the same step; the run's loss is their mean.
    place = (newest.get("generation"), newest.get("step"))
    peers = [line for line in steps if (line.get("generation"), line.get("step")) == place]
    losses = [line["loss"] for line in peers if _is_number(line.get("loss"))]
    return LatestRecords(
        step=_whole(newest.get("step")),
        attempt=_whole(newest.get("attempt")),
        loss=sum(losses) / len(losses) if losses else None,
        lr=newest["lr"] if _is_number(newest.get("lr")) else None,
        val_metric=metrics[-1] if metrics else None,
        last_t_s=max(times) if times else None,
    )


def _state(is_alive: bool, counts: LedgerCounts) -> str:
    if is_alive:
        return "running"
    if counts.end is not None:
        return printable(str(counts.end.get("state", "failed")))
    return "interrupted" if counts.has_started else "pending"


def job_and_max_steps(run: RunFolder) -> tuple[str | None, int | None]:
    """Return what a run's job file says; None for what it does not."""
    try:
        spec = read_yaml(run.job_yaml, run.job_yaml.name)
        name, max_steps = spec["name"], spec["train"]["max_steps"]
    except (SpecError, TypeError, KeyError):
        return None, None
    return (
        _text(name),
        max_steps if isinstance(max_steps, int) else None,
    )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return _whole(value) is not None


def _whole(value: Any) -> int | None:
    """Return a whole number that can be one of a run, None for anything else."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and abs(value) < _NO_COUNT else None


def _text(value: Any) -> str | None:
    return printable(value) if isinstance(value, str) else None


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
