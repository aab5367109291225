"""What worker processes and their watchdog say to each other at the roll call; plain data.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from watchdog.history import RunHistory
from watchdog.records import Outcome, Verdict
from watchdog.tiers import Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One worker process. `number` is Ray's for it, `group` that of the worker group it came in.

    `world_size` ranks are wanted; whoever comes beyond that number is a spare. `host` and `port`
    lead to the store that the ranks meet at if this member becomes rank 0.
    """

    member_id: str
    group: int
    number: int
    world_size: int
    host: str
    port: int = 0
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a rank left an attempt. An echo is the failure of a peer, seen in a collective."""

    outcome: Outcome
    step: int
    error: str
    is_echo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A member at the roll call; `attempt` is the one it left, -1 if it comes new."""

    member: Member
    attempt: int = -1
    rank: int = -1
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A member's part in an attempt, and all that its plan is computed from."""

    attempt: int
    rank: int
    world_size: int
    local_world_size: int
    host: str
    port: int
    tier: Tier | None
    history: RunHistory
    verdict: Verdict | None
    held_steps: tuple[int, ...] = ()


class Word(StrEnum):
    """What the roll call says to who is there."""

    WAIT = "wait"
    GO = "go"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to an arrival; GO comes with an assignment, LEAVE with a reason.

    `result` is what rank 0 returned at the end of the run, for whoever was not part of it.
    """

    word: Word
    assignment: Assignment | None = None
    reason: str = ""
    is_spare: bool = False
    result: Any = None
