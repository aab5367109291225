"""What is to be done: the policy's decision, and the order that the ranks obey together.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from watchdog.causes import NUMERIC_CAUSES, Cause


class Action(StrEnum):
    """What a verdict orders, mildest first."""

    CONTINUE = "continue"
    ROLLBACK = "rollback"
    RESTART = "restart"
    HALT = "halt"


class OrderKind(StrEnum):
    """What all ranks are to do at the same step; ABANDON at once, wherever it is."""

    ROLLBACK = "rollback"
    SET_LR = "set_lr"
    ABANDON = "abandon"
    STOP = "stop"
    HALT = "halt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The policy's decision, with its reason; in the ledger before anything is done.

    `onset_step` is the first bad step: a rollback restores the newest trusted checkpoint of a step
    before it. `lr_scale` is the total multiplier on the job's learning rate once it is carried
    out; it never lets the rate fall under `min_lr`, and is reached over `rewarmup_steps`.
    `skip_samples` are sample ordinals that the replay must not consume; of very many, a rollback
    names one a batch, which the living ranks know by it. `trusted_steps` are the
    steps whose checkpoints are trusted, newest last; `step` is the newest step seen. `advised` is
    what the policy would have ordered, where `action` is CONTINUE only because it may not act; any
    other CONTINUE orders a new `lr_scale` and nothing else. `reset_momentum` has the restored
    optimizer forget what it has gathered. `rank` is the culprit, where it is one.
    `micro_batch_scale` is the total multiplier on the samples of a forward pass.
    """

    verdict_id: int
    t_s: float
    attempt: int
    generation: int
    step: int
    cause: Cause
    action: Action
    reason: str
    onset_step: int
    lr_scale: float = 1.0
    min_lr: float = 0.0
    rewarmup_steps: int = 0
    skip_samples: tuple[int, ...] = ()
    trusted_steps: tuple[int, ...] = ()
    incident: str = ""
    advised: Action | None = None
    reset_momentum: bool = False
    rank: int | None = None
    micro_batch_scale: float = 1.0

    @property
    def is_numeric(self) -> bool:
        """Whether the numbers are at fault, so that a trusted older checkpoint is wanted."""
        return self.cause in NUMERIC_CAUSES

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as a JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def verdict_from_json(line: Mapping[str, Any]) -> Verdict:
    """Return the verdict that `to_json` wrote; other keys (the ledger's `kind`) are ignored."""
    known = {f.name for f in dataclasses.fields(Verdict)}
    data = {k: v for k, v in line.items() if k in known}
    data["cause"] = Cause(data["cause"])
    data["action"] = Action(data["action"])
    if data.get("advised") is not None:
        data["advised"] = Action(data["advised"])
    for name in ("skip_samples", "trusted_steps"):
        data[name] = tuple(data.get(name, ()))
    return Verdict(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the ranks are to do together; ids rise, and a higher one supersedes a lower.

    ABANDON names the `attempt` that is to be left, by all who are in it or in an earlier one.
    """

    order_id: int
    kind: OrderKind
    verdict: Verdict | None = None
    attempt: int | None = None
