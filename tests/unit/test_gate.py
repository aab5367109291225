import pytest

from tests.replay.rig import checkpoint, evaluation, report
from watchdog.gate import Entry, Gate
from watchdog.place import Place
from watchdog.records import AttemptEnded, AttemptStarted, Outcome, Record, RunStarted, Tick


def gate(ended_attempt: int = -1) -> Gate:
    """Return the gate of a run in generation 2 of its attempt 1."""
    return Gate(Place(attempt=1, generation=2, started_attempt=1, ended_attempt=ended_attempt))


@pytest.mark.parametrize("make", [report, evaluation, checkpoint])
@pytest.mark.parametrize(
    ("attempt", "generation", "entry"),
    [
        (1, 2, Entry.ACCEPTED),
        (1, 1, Entry.STALE),
        (0, 2, Entry.STALE),
        (1, 3, Entry.HELD),
        (2, 3, Entry.HELD),
    ],
)
def test_only_the_current_generation_counts_now(
    make: object, attempt: int, generation: int, entry: Entry
) -> None:
    record = make(5, attempt=attempt, generation=generation)  # type: ignore[operator]
    assert gate().admit(record) is entry


def test_held_records_are_given_back_once_in_order() -> None:
    door = gate()
    records: list[Record] = [report(s, attempt=1, generation=3) for s in (1, 2)]
    for record in records:
        door.admit(record)
    assert door.release() == records
    assert door.release() == []


def test_late_reports_of_an_ended_attempt_are_stale_but_its_checkpoints_count() -> None:
    door = gate(ended_attempt=1)
    assert door.admit(report(5, attempt=1, generation=2)) is Entry.STALE
    assert door.admit(checkpoint(5, attempt=1, generation=2)) is Entry.ACCEPTED


@pytest.mark.parametrize(("attempt", "entry"), [(1, Entry.STALE), (2, Entry.ACCEPTED)])
def test_attempt_starts_once(attempt: int, entry: Entry) -> None:
    assert gate().admit(AttemptStarted(t_s=0.0, attempt=attempt, world_size=1)) is entry


@pytest.mark.parametrize(("attempt", "entry"), [(0, Entry.STALE), (1, Entry.ACCEPTED)])
def test_attempt_ends_once(attempt: int, entry: Entry) -> None:
    record = AttemptEnded(t_s=0.0, attempt=attempt, outcome=Outcome.FINISHED, step=4)
    assert gate(ended_attempt=0).admit(record) is entry


def test_run_that_is_told_to_start_twice_in_one_breath_starts_once() -> None:
    door = gate()
    record = RunStarted(t_s=1.0, run_id="r", job="j", max_steps=9)
    assert [door.admit(record), door.admit(record)] == [Entry.ACCEPTED, Entry.STALE]


@pytest.mark.parametrize("step", [-1, 2**53 + 1, 10**30])
def test_impossible_step_is_garbage(step: int) -> None:
    assert gate().admit(report(step, attempt=1, generation=2)) is Entry.STALE
    assert gate().admit(evaluation(step, attempt=1, generation=2)) is Entry.STALE


def test_tick_always_counts() -> None:
    assert gate().admit(Tick(t_s=1.0)) is Entry.ACCEPTED
