from typing import Any

import pytest

from watchdog.diagnosis import diagnose, diagnose_end
from watchdog.findings import Finding, Level
from watchdog.records import Action, AttemptEnded, Cause, Outcome, Verdict


def finding(cause: Cause, level: Level = Level.INCIDENT) -> Finding:
    return Finding(
        cause=cause, level=level, onset_step=40, value=1.0, threshold=0.5, summary=cause.value
    )


def ended(outcome: Outcome = Outcome.WORKER_DIED, **fields: Any) -> AttemptEnded:
    return AttemptEnded(t_s=9.0, attempt=2, outcome=outcome, step=49, **fields)


@pytest.mark.parametrize(
    ("findings", "cause"),
    [
        ([finding(Cause.PLATEAU), finding(Cause.NONFINITE), finding(Cause.SPIKE)], Cause.NONFINITE),
        ([finding(Cause.PLATEAU), finding(Cause.SPIKE)], Cause.SPIKE),
        ([finding(Cause.SPIKE, Level.SUSPECT), finding(Cause.PLATEAU)], Cause.PLATEAU),
    ],
)
def test_most_likely_cause_wins_and_an_incident_beats_a_suspicion(
    findings: list[Finding], cause: Cause
) -> None:
    diagnosis = diagnose(findings, newest_step=70)
    assert diagnosis is not None
    assert (diagnosis.cause, diagnosis.bad_until_step) == (cause, 70)


def test_no_finding_is_no_diagnosis() -> None:
    assert diagnose([], newest_step=70) is None


@pytest.mark.parametrize("outcome", [Outcome.FINISHED, Outcome.STOPPED, Outcome.HALTED])
def test_planned_end_is_no_diagnosis(outcome: Outcome) -> None:
    assert diagnose_end(ended(outcome), 49, None) is None


def test_crash_is_bad_from_the_step_that_was_never_finished() -> None:
    diagnosis = diagnose_end(ended(Outcome.EXCEPTION, rank=3, error="a\nValueError: b\n"), 51, None)
    assert diagnosis is not None
    assert (diagnosis.cause, diagnosis.onset_step) == (Cause.CRASH, 52)
    assert diagnosis.summary == (
        "rank 3 raised an exception after step 51 (attempt 2): ValueError: b"
    )


def test_lost_node_has_its_own_cause() -> None:
    diagnosis = diagnose_end(ended(is_node_lost=True), 49, None)
    assert diagnosis is not None
    assert diagnosis.cause is Cause.NODE_LOST


@pytest.mark.parametrize("outcome", [Outcome.ROLLBACK_FAILED, Outcome.WORKER_DIED])
def test_rollback_that_was_not_carried_out_stays_the_cause(outcome: Outcome) -> None:
    pending = Verdict(
        verdict_id=1,
        t_s=8.0,
        attempt=2,
        generation=0,
        step=47,
        cause=Cause.NONFINITE,
        action=Action.ROLLBACK,
        reason="NaN",
        onset_step=45,
    )
    diagnosis = diagnose_end(ended(outcome), 49, pending)
    assert diagnosis is not None
    assert (diagnosis.cause, diagnosis.onset_step) == (Cause.NONFINITE, 45)
    assert diagnosis.pending is pending
