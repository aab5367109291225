"""Copies outside of the workers: whole ones count, superseded ones do not."""

from __future__ import annotations

from typing import Any

from watchdog.held_copies import HeldCopies


def share(step: int, *, rank: int = 0, of: int = 1, generation: int = 0, keep: int = 6) -> Any:
    info = {"step": step, "generation": generation}
    return {"info": info, "rank": rank, "of": of, "keep": keep}


def test_the_newest_few_are_kept() -> None:
    copies = HeldCopies()
    told = [copies.keep(step, share(step, keep=2)) for step in (8, 16, 24)]
    assert told[-1] == copies.steps() == (16, 24)
    assert copies.get(8) is None


def test_a_state_in_one_share_is_everybodys() -> None:
    copies = HeldCopies()
    payload = share(8)
    copies.keep(8, payload)
    assert copies.get(8, rank=3) is payload


def test_a_step_counts_once_the_shares_of_all_ranks_are_there() -> None:
    copies = HeldCopies()
    second = share(8, rank=1, of=2)
    assert copies.keep(8, share(8, rank=0, of=2)) == (8,)
    assert copies.steps() == ()
    copies.keep(8, second)
    assert copies.steps() == (8,)
    assert copies.get(8, rank=1) is second


def test_shares_of_two_generations_make_no_state() -> None:
    copies = HeldCopies()
    for rank in (0, 1):
        copies.keep(24, share(24, rank=rank, of=2))
    copies.keep(24, share(24, rank=0, of=2, generation=1))
    assert copies.steps() == ()
    copies.keep(24, share(24, rank=1, of=2, generation=1))
    assert copies.steps() == (24,)


def test_what_a_rollback_superseded_is_let_go() -> None:
    copies = HeldCopies()
    for step in (8, 16, 24):
        copies.keep(step, share(step))
    copies.keep(16, share(16, generation=1))
    assert copies.steps() == (8, 16)
    copies.drop_after(8)
    assert copies.steps() == (8,)
