"""From findings, or the end of an attempt, to the single most likely cause.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from watchdog.findings import Finding, Level
from watchdog.records import AttemptEnded, Cause, Outcome, Verdict

#: First match wins: broken numbers explain a bad loss, a bad loss explains missing progress, and
#: a rate of nothing explains a frozen loss.
_PRECEDENCE = (
    Cause.NONFINITE,
    Cause.SKIPPED_BATCHES,
    Cause.SPIKE,
    Cause.LR_UNDERFLOW,
    Cause.DEAD_LOSS,
    Cause.TRIVIAL,
    Cause.DIVERGENCE,
    Cause.PLATEAU,
    Cause.GRADIENTS,
    Cause.UNSTABLE_VALIDATION,
    Cause.OVERFITTING,
    Cause.STALL,
    Cause.STRAGGLER,
    Cause.STORAGE,
    Cause.NODE_LOST,
    Cause.OUT_OF_MEMORY,
    Cause.CRASH,
)

_PLANNED_ENDS = frozenset({Outcome.FINISHED, Outcome.STOPPED, Outcome.HALTED, Outcome.RESIZED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The cause, its first bad step, and the evidence in one sentence.

    `bad_until_step` is the last step known to be bad. `is_attempt_over` says that no worker is
    left to roll back in place. `pending` is the verdict that the attempt did not live to carry out.
    """

    cause: Cause
    level: Level
    onset_step: int
    bad_until_step: int
    summary: str
    value: float | None = None
    threshold: float | None = None
    bad_steps: tuple[int, ...] = ()
    is_attempt_over: bool = False
    pending: Verdict | None = None
    rank: int | None = None


def diagnose(findings: Iterable[Finding], newest_step: int) -> Diagnosis | None:
    """Return the diagnosis behind the findings: incidents before suspicions, then by precedence."""
    ranked = sorted(findings, key=lambda f: (f.level is Level.SUSPECT, _PRECEDENCE.index(f.cause)))
    if not ranked:
        return None
    first = ranked[0]
    return Diagnosis(
        cause=first.cause,
        level=first.level,
        onset_step=first.onset_step,
        bad_until_step=max(newest_step, first.onset_step),
        summary=first.summary,
        value=first.value,
        threshold=first.threshold,
        bad_steps=first.bad_steps,
        rank=first.rank,
    )


def diagnose_end(
    record: AttemptEnded, newest_step: int, pending: Verdict | None
) -> Diagnosis | None:
    """Return why an attempt ended, None if it was meant to.

    An attempt that died with a rollback pending keeps the cause of that rollback: a restart has to
    do what was not done in place.
    """
    if record.outcome in _PLANNED_ENDS:
        return None
    last_step = max(record.step, newest_step)
    if pending is not None and pending.is_numeric:
        return Diagnosis(
            cause=pending.cause,
            level=Level.INCIDENT,
            onset_step=pending.onset_step,
            bad_until_step=max(last_step, pending.onset_step),
            summary=f"{_sentence(record, last_step)} before it was carried out: {pending.reason}",
            is_attempt_over=True,
            pending=pending,
        )
    return Diagnosis(
        cause=_cause_of(record),
        level=Level.INCIDENT,
        onset_step=last_step + 1,
        bad_until_step=last_step + 1,
        summary=_sentence(record, last_step),
        is_attempt_over=True,
        rank=record.rank,
    )


def _cause_of(record: AttemptEnded) -> Cause:
    if record.is_node_lost:
        return Cause.NODE_LOST
    return Cause.OUT_OF_MEMORY if record.outcome is Outcome.OUT_OF_MEMORY else Cause.CRASH


def _sentence(record: AttemptEnded, last_step: int) -> str:
    what = {
        Outcome.EXCEPTION: "raised an exception",
        Outcome.OUT_OF_MEMORY: "ran out of memory",
        Outcome.WORKER_DIED: "died",
        Outcome.HUNG: "hung",
        Outcome.ROLLBACK_FAILED: "could not roll back in place",
    }[record.outcome]
    who = "a worker" if record.rank is None else f"rank {record.rank}"
    where = " because its node was lost" if record.is_node_lost else ""
    lines = (record.error or "").strip().splitlines()
    error = f": {lines[-1]}" if lines else ""
    return f"{who} {what}{where} after step {last_step} (attempt {record.attempt}){error}"
