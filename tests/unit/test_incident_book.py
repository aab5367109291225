import pytest

from tests.unit.test_ladder import diagnosis
from tests.unit.test_probe import judged
from watchdog.config import IncidentConfig
from watchdog.incident_book import IncidentBook
from watchdog.incidents import Recovery
from watchdog.place import Place
from watchdog.records import Cause, LedgerKind
from watchdog.signals import Signals, SignalsConfig


def opened(cause: Cause = Cause.SPIKE, *, is_acted_on: bool = True) -> IncidentBook:
    """Return a book with an incident from step 41 to 72 that the run has recovered from."""
    place = Place(run_id="run-1", step=72)
    book = IncidentBook(IncidentConfig(), place, Signals(SignalsConfig()))
    book.open(diagnosis(cause), 1.0)
    incident = book.incident
    assert incident is not None
    incident.is_acted_on = is_acted_on
    if is_acted_on:
        book.recovered(
            Recovery(
                mechanism="in_place",
                restored_step=40,
                storage=None,
                steps_lost=32,
                since_t_s=72.0,
                seconds=0.1,
            )
        )
    return book


@pytest.mark.parametrize(
    ("cause", "is_acted_on", "steps"),
    [
        (Cause.SPIKE, True, 8),
        (Cause.PLATEAU, True, 64),
        (Cause.PLATEAU, False, 8),  # nothing was done, so nothing has to be proven
    ],
)
def test_an_incident_is_over_after_exactly_its_clean_steps_past_the_bad_ones(
    cause: Cause, is_acted_on: bool, steps: int
) -> None:
    book = opened(cause, is_acted_on=is_acted_on)
    over = [book.clean_step(judged(step)) for step in range(41, 73 + steps)]
    assert over.index(True) == len(over) - 1


def test_a_bad_step_starts_the_count_anew() -> None:
    book = opened()
    for step in range(73, 80):
        book.clean_step(judged(step))
    book.bad_step()
    assert [book.clean_step(judged(step)) for step in range(81, 89)] == [False] * 7 + [True]


def test_nothing_is_over_before_the_run_trains_again() -> None:
    book = opened()
    incident = book.incident
    assert incident is not None
    incident.recovery = None
    assert not any(book.clean_step(judged(step)) for step in range(73, 200))


def test_a_restart_is_told_with_its_seconds_at_its_first_healthy_step() -> None:
    book = opened()
    restart = Recovery(
        mechanism="restart", restored_step=40, storage=None, steps_lost=1, since_t_s=72.0
    )
    assert book.recovered(restart) == []
    (line,) = book.trained(judged(75))
    assert (line.kind, line.data["seconds"]) == (LedgerKind.RECOVERY_DONE, 3.0)
    assert book.trained(judged(76)) == []


@pytest.mark.parametrize(("is_acted_on", "kinds"), [(True, 2), (False, 1)])
def test_only_what_was_acted_on_is_proven(is_acted_on: bool, kinds: int) -> None:
    closing = opened(is_acted_on=is_acted_on).close([], is_over=True)
    assert closing is not None
    assert len(closing.lines) == kinds
    assert (closing.proof is not None) is is_acted_on


def test_a_proof_lists_trials_and_hard_batches_where_there_are_any() -> None:
    book = opened()
    assert book.incident is not None
    book.incident.trials = ({"lr_scale": 2.0},)
    closing = book.close([{"index": 7}], is_over=True)
    assert closing is not None
    proof = closing.lines[1].data
    assert (proof["trials"], proof["hard_batches"]) == ([{"lr_scale": 2.0}], [{"index": 7}])
    assert book.close([], is_over=True) is None


def test_an_attempt_that_died_with_a_verdict_pending_goes_on_with_its_incident() -> None:
    book = opened()
    assert book.is_same(diagnosis())
    assert not book.is_same(diagnosis(Cause.NONFINITE))
    assert not book.is_same(diagnosis(onset_step=45))
