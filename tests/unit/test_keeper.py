"""The process behind a driver on a cluster: when it resumes, and when it lets be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from runner.keeper import MOST_RESUMES, Keeper

KILLED, SUBMIT, RESUME = -9, ["submit", "--run", "a"], ["resume", "a"]


def play(
    codes: Sequence[int], meanwhile: Callable[[Keeper], None] = lambda keeper: None
) -> tuple[int, list[Sequence[str]], list[float]]:
    """Keep a run whose drivers end with these codes; return the last, the commands, the pauses."""
    commands: list[Sequence[str]] = []
    pauses: list[float] = []
    left = iter(codes)

    def start(command: Sequence[str]) -> int:
        commands.append(command)
        meanwhile(keeper)
        return next(left)

    keeper = Keeper(start, pauses.append)
    return keeper.keep(SUBMIT, RESUME), commands, pauses


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 130])
def test_a_driver_that_ends_by_itself_is_not_followed(code: int) -> None:
    assert play([code]) == (code, [SUBMIT], [])


def test_a_driver_that_was_killed_is_followed_until_one_ends_by_itself() -> None:
    assert play([KILLED, KILLED, 0]) == (0, [SUBMIT, RESUME, RESUME], [1.0, 2.0])


def test_drivers_that_are_killed_for_ever_are_no_loop() -> None:
    code, commands, _ = play([KILLED] * 50)
    assert code == 1
    assert len(commands) == 1 + MOST_RESUMES


def test_a_run_that_is_stopped_is_not_resumed() -> None:
    assert play([KILLED], lambda keeper: keeper.stop()) == (1, [SUBMIT], [])
