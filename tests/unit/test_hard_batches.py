import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.hard_batches import HardBatchConfig, HardBatches

SIZE = 100


def registry(**fields: int) -> HardBatches:
    made = HardBatches(HardBatchConfig(**fields))
    made.dataset_size = SIZE
    return made


def epoch(number: int, *indices: int) -> tuple[int, ...]:
    return tuple(number * SIZE + index for index in indices)


@pytest.mark.parametrize(
    ("spiked_in", "is_known"),
    [((0,), False), ((0, 0), False), ((0, 1), True), ((0, 2), True), ((0, 1, 2), True)],
)
def test_a_sample_is_hard_once_its_batch_has_spiked_in_two_epochs(
    spiked_in: tuple[int, ...], is_known: bool
) -> None:
    hard = registry()
    for number in spiked_in:
        hard.healed(epoch(number, 7), 12.0, 3)
    assert hard.known(epoch(5, 7)) == ((7,) if is_known else ())


def test_samples_that_pass_in_another_batch_are_cleared_and_the_hard_one_is_found() -> None:
    hard = registry()
    hard.healed(epoch(0, 7, 8, 9), 12.0, 3)
    hard.passed(epoch(1, 8, 30))
    hard.passed(epoch(1, 9, 31))
    hard.healed(epoch(1, 7, 40, 41), 9.0, 5)
    assert hard.known(epoch(2, 7, 8, 9, 40, 41)) == (7,)
    (found,) = hard.listed()
    assert (found.index, found.epochs, found.worst_excess, found.steps) == (7, 2, 12.0, 5)
    assert not found.has_rolled_back


def test_a_hard_sample_that_passes_is_not_hard_any_more() -> None:
    hard = registry()
    for number in (0, 1):
        hard.healed(epoch(number, 7), 12.0, 3)
    hard.passed(epoch(2, 7))
    assert hard.listed() == ()


def test_a_sample_that_cost_a_rollback_is_listed_for_good() -> None:
    hard = registry()
    hard.rolled_back(epoch(0, 7))
    hard.passed(epoch(1, 7))
    (found,) = hard.listed()
    assert (found.index, found.epochs, found.has_rolled_back) == (7, 0, True)
    assert found.worst_excess is None


def test_a_hard_batch_is_watched_four_times_as_long_as_it_ever_took_to_heal() -> None:
    hard = registry()
    assert hard.patience_steps(epoch(0, 7)) == 0
    for number, steps in enumerate((20, 12)):
        hard.healed(epoch(number, 7), 12.0, steps)
    assert hard.patience_steps(epoch(2, 7, 8)) == 80


def test_nothing_is_learned_while_the_size_of_the_data_set_is_unknown() -> None:
    hard = HardBatches(HardBatchConfig())
    hard.healed((7,), 12.0, 3)
    hard.rolled_back((7,))
    assert hard.is_empty


def test_what_tells_least_is_forgotten_first() -> None:
    hard = registry(max_samples=64)
    for number in (0, 1):
        hard.healed(epoch(number, 7), 12.0, 3)
    hard.rolled_back(epoch(0, 8))
    for number in range(2, 40):
        hard.healed(epoch(number, *range(10, 100)), 12.0, 3)
        hard.passed(epoch(number, *range(10, 100)))
    hard.healed(epoch(50, *range(10, 100)), 12.0, 3)
    assert {found.index for found in hard.listed()} == {7, 8}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["healed", "passed", "rolled_back"]),
            st.lists(st.integers(0, 10**12), max_size=200),
        ),
        max_size=30,
    )
)
def test_memory_is_bounded_whatever_is_told(told: list[tuple[str, list[int]]]) -> None:
    hard = registry(max_samples=64)
    hard.dataset_size = 10**6
    for what, ordinals in told:
        arguments = (12.0, 3) if what == "healed" else ()
        getattr(hard, what)(ordinals, *arguments)
        assert len(hard._entries) <= 64
