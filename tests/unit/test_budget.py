import pytest

from watchdog.budget import BudgetBook, BudgetConfig, StrikeBook
from watchdog.records import Cause


def test_every_cause_has_a_limit() -> None:
    assert all(BudgetConfig().limit(cause) >= 0 for cause in Cause)


@pytest.mark.parametrize(("progress_steps", "spent"), [(0, 2), (99, 2), (100, 0), (500, 0)])
def test_charges_are_given_back_by_exactly_a_period_of_progress(
    progress_steps: int, spent: int
) -> None:
    book = BudgetBook()
    book.charge(Cause.SPIKE)
    book.charge(Cause.SPIKE)
    for step in range(1, progress_steps + 1):
        book.clean_step(step)
    assert book.spent(100)[Cause.SPIKE] == spent


def test_repeated_steps_are_no_progress() -> None:
    book = BudgetBook()
    book.bad_step(50)
    book.charge(Cause.CRASH)
    for _ in range(100):
        for step in range(30, 51):
            book.clean_step(step)
    assert book.progress_steps == 0
    assert book.spent(10)[Cause.CRASH] == 1


def test_causes_do_not_share_a_budget() -> None:
    book = BudgetBook()
    book.charge(Cause.SPIKE)
    assert book.spent(100).get(Cause.CRASH, 0) == 0


def test_plateau_charges_are_never_given_back() -> None:
    book = BudgetBook()
    book.charge(Cause.PLATEAU)
    for step in range(1, 1000):
        book.clean_step(step)
    assert book.spent(100)[Cause.PLATEAU] == 1


def test_a_charge_that_was_proven_to_have_helped_is_given_back() -> None:
    book = BudgetBook()
    book.charge(Cause.PLATEAU)
    book.charge(Cause.PLATEAU)
    book.give_back(Cause.PLATEAU)
    assert book.spent(100)[Cause.PLATEAU] == 1
    book.give_back(Cause.SPIKE)
    assert book.spent(100).get(Cause.SPIKE, 0) == 0


def struck(*progress_steps: int) -> StrikeBook:
    """Return a book in which a cause was acted on, each time at this progress."""
    book = StrikeBook()
    for progress in progress_steps:
        book.acted(Cause.SPIKE, progress, restored_step=32)
    return book


@pytest.mark.parametrize(
    ("acted_at", "now", "repeats"),
    [((), 5, 0), ((5,), 5, 1), ((5, 5), 5, 2), ((5, 5), 6, 0), ((5, 6, 6), 6, 2)],
)
def test_a_cause_repeats_as_long_as_there_is_no_progress(
    acted_at: tuple[int, ...], now: int, repeats: int
) -> None:
    assert struck(*acted_at).repeats(Cause.SPIKE, now) == repeats


def test_what_was_proven_not_to_have_helped_is_a_repeat_even_after_progress() -> None:
    book = struck(5)
    book.proven(Cause.SPIKE, helped=False, was_undone=False)
    assert book.repeats(Cause.SPIKE, 500) == 1
    book.acted(Cause.SPIKE, 500, restored_step=400)
    book.proven(Cause.SPIKE, helped=True, was_undone=False)
    assert book.repeats(Cause.SPIKE, 900) == 0


def test_undone_reductions_are_counted_until_one_helps() -> None:
    book = struck(5)
    for _ in range(2):
        book.proven(Cause.SPIKE, helped=False, was_undone=True)
        book.acted(Cause.SPIKE, 9, restored_step=8)
    assert book.undone(Cause.SPIKE) == 2
    book.proven(Cause.SPIKE, helped=True, was_undone=False)
    assert book.undone(Cause.SPIKE) == 0


def test_causes_do_not_share_strikes() -> None:
    book = struck(5)
    assert book.repeats(Cause.PLATEAU, 5) == 0
    assert book.last_restored_step(Cause.PLATEAU) is None
    assert book.last_restored_step(Cause.SPIKE) == 32


def test_a_person_who_resumes_a_halted_run_forgives_it() -> None:
    book = BudgetBook()
    book.charge(Cause.PLATEAU)
    book.forgive()
    assert book.spent(100) == {}
