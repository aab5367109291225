"""The tiers of a restart, and the one table that chooses among them.

A restart means a new attempt; its tier says how much is started anew: nothing but the process
group, the dead workers only, or all of them. The mildest tier that the situation allows is taken;
one that came to nothing twice is not tried again before the run has made progress.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pydantic import Field

from watchdog.settings import Config


class Tier(StrEnum):
    """How a new attempt comes about, mildest first."""

    REGROUP = "regroup"
    SPARE = "spare"
    REPLACE = "replace"
    RESTART = "restart"


class Renewal(StrEnum):
    """What Ray starts anew within its job after a death; of nothing, a new job has to be made."""

    NOTHING = "nothing"
    ALL = "all"
    SINGLE = "single"


class RecoveryConfig(Config):
    """Which tiers of a restart may be used, and how long each may take."""

    regroup: bool = Field(
        True,
        description="After an exception or a hang the living processes form a new process group.",
    )
    replace: bool = Field(
        True,
        description="After a death only the dead worker is started anew. Leans on a hook of Ray "
        "that is not documented: used with the Ray versions it was tested with, and not with an "
        "elastic range of workers.",
    )
    spares: int = Field(
        0,
        ge=0,
        le=64,
        description="Workers that wait, warm, to take a dead one's place; each takes the resources "
        "of a worker.",
    )
    gather_s: float = Field(
        15.0,
        gt=0,
        description="Seconds that living ranks have to leave a broken attempt; the process of one "
        "that is stuck for longer is ended.",
    )
    replace_s: float = Field(
        120.0,
        gt=0,
        description="Seconds that a replaced worker may take to come up; then all are restarted. "
        "4 s were measured; a large job imports and builds for longer.",
    )
    backoff_s: float = Field(
        1.0, ge=0, description="Wait before a second restart of all workers without progress, in s."
    )
    backoff_max_s: float = Field(
        60.0, ge=0, description="The wait doubles with every such restart up to this, in s."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a tier is chosen from.

    `lost` workers are dead, `survivors` are at the roll call, `spares` wait. `is_replaceable` says
    whether Ray can start a dead worker anew. `failed` tiers came to nothing since the run last made
    progress.
    """

    lost: int
    survivors: int
    spares: int = 0
    is_node_lost: bool = False
    has_stuck: bool = False
    is_replaceable: bool = True
    failed: Collection[Tier] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: the tier, and what must be so for it.

    `deaths`: none; some, covered by spares; some, with survivors; any number.
    """

    tier: Tier
    setting: Literal["regroup", "replace", "spares"] | None
    deaths: Literal["none", "spared", "survived", "any"]
    allows_node_loss: bool = False
    allows_stuck: bool = False
    needs_replacing: bool = False


#: First match wins. A lost node takes its place in Ray's placement group along, so that neither a
#: spare nor a replacement is of use; a process that is stuck beyond reach can only be shut down.
TIERS: tuple[Row, ...] = (
    Row(tier=Tier.REGROUP, setting="regroup", deaths="none"),
    Row(tier=Tier.SPARE, setting="spares", deaths="spared", needs_replacing=True),
    Row(tier=Tier.REPLACE, setting="replace", deaths="survived", needs_replacing=True),
    Row(tier=Tier.RESTART, setting=None, deaths="any", allows_node_loss=True, allows_stuck=True),
)


def choose_tier(situation: Situation, config: RecoveryConfig) -> Tier:
    """Return the mildest tier that the situation and the settings allow."""
    return next(row.tier for row in TIERS if _applies(row, situation, config))


def _applies(row: Row, now: Situation, config: RecoveryConfig) -> bool:
    if row.tier in now.failed and row.tier is not Tier.RESTART:
        return False
    if row.setting is not None and not getattr(config, row.setting):
        return False
    if now.is_node_lost and not row.allows_node_loss:
        return False
    if now.has_stuck and not row.allows_stuck:
        return False
    if row.needs_replacing and not now.is_replaceable:
        return False
    return {
        "none": now.lost == 0,
        "spared": 0 < now.lost <= now.spares,
        "survived": now.lost > 0 and now.survivors > 0,
        "any": True,
    }[row.deaths]


def backoff_s(restarts: int, config: RecoveryConfig, seed: int) -> float:
    """Return the seconds to wait before the next restart of all workers.

    `restarts` of all workers came before it without progress; the first goes ahead at once. The
    wait doubles each time up to its limit, and each is shortened by up to half at random, so that
    runs that died together do not come back together.

    Source: Brooker, Exponential Backoff And Jitter (AWS Architecture Blog, 2015), equal jitter.
    """
    if restarts <= 0:
        return 0.0
    full = min(config.backoff_max_s, config.backoff_s * 2.0 ** min(restarts - 1, 60))
    jitter = random.Random(seed * 1_000_003 + restarts).random()
    return full * (0.5 + 0.5 * jitter)
