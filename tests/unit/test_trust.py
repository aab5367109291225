from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.checkpoints import to_retire
from tests.replay.rig import checkpoint
from watchdog.records import Storage
from watchdog.trust import TRANSITIONS, Trust, TrustBook, TrustConfig


def book(*steps: int) -> TrustBook:
    made = TrustBook(TrustConfig())
    for step in steps:
        made.saved(checkpoint(step), onset_step=None, restored_step=None)
    return made


@pytest.mark.parametrize(("clean_steps", "expected"), [(0, ()), (4, ()), (5, (10,)), (9, (10,))])
def test_candidate_is_trusted_after_exactly_five_clean_steps(
    clean_steps: int, expected: tuple[int, ...]
) -> None:
    trust = book(10)
    for step in range(11, 11 + clean_steps):
        trust.clean_step(step)
    assert trust.steps(Trust.TRUSTED) == expected


def test_step_it_was_saved_at_does_not_count() -> None:
    trust = book(10)
    for step in range(6, 15):
        trust.clean_step(step)
    assert trust.steps(Trust.CANDIDATE) == (10,)


def test_bad_step_starts_the_count_anew() -> None:
    trust = book(10)
    for step in range(11, 15):
        trust.clean_step(step)
    trust.bad_step()
    trust.clean_step(16)
    assert trust.steps(Trust.TRUSTED) == ()


def test_checkpoint_saved_under_suspicion_is_tainted_and_absolved_when_it_recovers() -> None:
    trust = book()
    (tainted,) = trust.saved(checkpoint(30), onset_step=25, restored_step=None)
    assert tainted.trust is Trust.TAINTED
    trust.absolve_from(25, generation=0)
    assert trust.steps(Trust.CANDIDATE) == (30,)


def test_checkpoint_older_than_the_onset_stays_a_candidate() -> None:
    trust = book()
    trust.saved(checkpoint(24), onset_step=25, restored_step=None)
    assert trust.steps(Trust.CANDIDATE) == (24,)


def test_what_an_earlier_generation_left_is_never_absolved() -> None:
    trust = book(30)
    trust.taint_from(20)
    trust.absolve_from(20, generation=1)
    assert trust.steps(Trust.TAINTED) == (30,)


@pytest.mark.parametrize(
    ("step", "restored_step", "trusted_before", "is_trusted"),
    [
        (0, 0, False, True),  # never trained
        (20, 20, True, True),  # what was just restored from a trusted one
        (20, 20, False, False),  # restored from a candidate, after a crash
        (24, 20, True, False),  # trained since
        (0, 20, False, False),
    ],
)
def test_restored_state_is_trusted_at_once_if_its_source_was(
    step: int, restored_step: int, trusted_before: bool, is_trusted: bool
) -> None:
    trust = book(20)
    if trusted_before:
        for clean in range(21, 26):
            trust.clean_step(clean)
    trust.saved(
        checkpoint(step, storage=Storage.MEMORY, generation=1),
        onset_step=None,
        restored_step=restored_step,
    )
    assert (step in trust.steps(Trust.TRUSTED, Storage.MEMORY)) is is_trusted


def test_broken_weights_are_never_trusted() -> None:
    trust = book()
    trust.saved(checkpoint(0, is_finite=False), onset_step=None, restored_step=0)
    trust.absolve_from(0, generation=0)
    assert trust.steps(Trust.TAINTED) == (0,)


def test_quarantine_is_for_good_and_for_one_place() -> None:
    trust = book(20)
    trust.saved(checkpoint(20, storage=Storage.MEMORY), onset_step=None, restored_step=None)
    trust.quarantine(20, Storage.DURABLE)
    assert trust.distrusted_steps() == ()
    for step in range(21, 30):
        trust.clean_step(step)
    assert trust.durable() == {20: "quarantined"}
    assert trust.steps(Trust.TRUSTED) == (20,)
    trust.quarantine(20, Storage.MEMORY)
    assert trust.distrusted_steps() == (20,)
    unheard = trust.quarantine(99, Storage.DURABLE)
    assert [c.step for c in unheard] == [99], "its save was never heard of"


def test_newest_trusted_checkpoint_is_never_forgotten() -> None:
    trust = TrustBook(TrustConfig())
    for step in range(1, 6):
        trust.saved(checkpoint(step), onset_step=None, restored_step=None)
    for step in range(6, 11):
        trust.clean_step(step)
    for step in range(100, 1000):
        trust.saved(checkpoint(step), onset_step=100, restored_step=None)
    assert trust.steps(Trust.TRUSTED) == (5,)
    assert len(trust.durable()) <= 257


def test_table_has_a_row_for_every_trust_and_quarantine_is_the_end() -> None:
    assert set(TRANSITIONS) == set(Trust)
    assert TRANSITIONS[Trust.QUARANTINED] == frozenset()


def test_what_its_storage_has_dropped_is_no_rollback_target_any_more() -> None:
    trust = book(10, 20)
    for step in range(21, 26):
        trust.clean_step(step)
    trust.saved(checkpoint(30, held_steps=(20, 30)), onset_step=None, restored_step=None)
    assert trust.steps(Trust.TRUSTED) == (20,)
    assert trust.steps(Trust.CANDIDATE) == (30,)


def test_memory_that_drops_a_checkpoint_leaves_the_durable_one() -> None:
    trust = book(10)
    for step in range(11, 16):
        trust.clean_step(step)
    trust.saved(
        checkpoint(20, storage=Storage.MEMORY, held_steps=(20,)),
        onset_step=None,
        restored_step=None,
    )
    assert trust.steps(Trust.TRUSTED, Storage.DURABLE) == (10,)


def test_what_is_tainted_stays_known_even_if_it_was_dropped() -> None:
    trust = book(10)
    trust.taint_from(10)
    trust.saved(checkpoint(20, held_steps=(20,)), onset_step=None, restored_step=None)
    assert trust.distrusted_steps() == (10,)


def in_state(trust: Trust) -> TrustBook:
    """Return a book with one checkpoint, of step 10, in a state."""
    made = book(10)
    if trust is Trust.TRUSTED:
        for step in range(11, 16):
            made.clean_step(step)
    elif trust is Trust.TAINTED:
        made.taint_from(10)
    elif trust is Trust.QUARANTINED:
        made.quarantine(10, Storage.DURABLE)
    return made


EVENTS: dict[str, Callable[[TrustBook], object]] = {
    "clean": lambda made: [made.clean_step(step) for step in range(11, 16)],
    "onset": lambda made: made.taint_from(10),
    "later onset": lambda made: made.taint_from(11),
    "healed": lambda made: made.absolve_from(10, generation=0),
    "unreadable": lambda made: made.quarantine(10, Storage.DURABLE),
}

#: What becomes of a checkpoint, by state and event; what is not named stays as it is.
TABLE = {
    (Trust.CANDIDATE, "clean"): Trust.TRUSTED,
    (Trust.CANDIDATE, "onset"): Trust.TAINTED,
    (Trust.CANDIDATE, "unreadable"): Trust.QUARANTINED,
    (Trust.TRUSTED, "onset"): Trust.TAINTED,
    (Trust.TRUSTED, "unreadable"): Trust.QUARANTINED,
    (Trust.TAINTED, "healed"): Trust.CANDIDATE,
    (Trust.TAINTED, "unreadable"): Trust.QUARANTINED,
}


@pytest.mark.parametrize("event", list(EVENTS))
@pytest.mark.parametrize("state", list(Trust))
def test_every_state_answers_every_event_as_the_table_says(state: Trust, event: str) -> None:
    made = in_state(state)
    assert made.durable() == {10: state.value}
    EVENTS[event](made)
    assert made.durable() == {10: TABLE.get((state, event), state).value}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 500), unique=True, max_size=40),
    st.data(),
    st.integers(1, 5),
)
def test_retention_never_takes_the_last_trusted_checkpoint(
    steps: list[int], data: st.DataObject, keep: int
) -> None:
    ordered = tuple(sorted(steps))
    trust = {step: data.draw(st.sampled_from([t.value for t in Trust])) for step in ordered}
    left = set(ordered) - set(to_retire(ordered, trust, keep))
    trusted = [step for step in ordered if trust[step] == "trusted"]
    assert set(trusted[-1:]) <= left
    assert len(left) <= keep + 1


def test_checkpoint_heard_of_after_the_clean_steps_that_followed_it_is_trusted_at_once() -> None:
    trust = book()
    for step in range(11, 16):
        trust.clean_step(step)
    (trusted,) = trust.saved(checkpoint(10), onset_step=None, restored_step=None)
    assert (trusted.step, trusted.trust) == (10, Trust.TRUSTED)


def test_checkpoint_heard_of_late_counts_only_the_clean_steps_after_it() -> None:
    trust = book()
    for step in range(11, 16):
        trust.clean_step(step)
    trust.saved(checkpoint(12), onset_step=None, restored_step=None)
    trust.clean_step(16)
    assert trust.steps(Trust.TRUSTED) == ()
    trust.clean_step(17)
    assert trust.steps(Trust.TRUSTED) == (12,)


def test_checkpoint_heard_of_after_a_later_bad_step_is_vouched_for_by_the_clean_ones_between() -> (
    None
):
    trust = book()
    for step in range(11, 16):
        trust.clean_step(step)
    trust.bad_step()
    trust.saved(checkpoint(10), onset_step=None, restored_step=None)
    trust.saved(checkpoint(12), onset_step=None, restored_step=None)
    assert (trust.steps(Trust.TRUSTED), trust.steps(Trust.CANDIDATE)) == ((10,), (12,))


def test_clean_steps_before_a_rollback_vouch_for_nothing() -> None:
    trust = book()
    for step in range(11, 16):
        trust.clean_step(step)
    trust.rewound()
    trust.saved(checkpoint(10), onset_step=None, restored_step=None)
    assert trust.steps(Trust.CANDIDATE) == (10,)
