import pytest

from watchdog.budget import BudgetBook, BudgetConfig
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


def test_a_person_who_resumes_a_halted_run_forgives_it() -> None:
    book = BudgetBook()
    book.charge(Cause.PLATEAU)
    book.forgive()
    assert book.spent(100) == {}
