"""The worker processes of one Ray Train job, as the roll call knows them: ranks, losses, failures.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from watchdog.muster import Arrival, Failure, Member
from watchdog.records import AttemptEnded, Outcome
from watchdog.tiers import Situation, Tier

#: Chosen: a second fault may well strike while the first is seen to; a third is no accident.
_TRIES = 2


@dataclass(slots=True)
class Loss:
    """How a member was lost; `is_stuck` if its process may live and is beyond reach."""

    detail: str
    is_node_lost: bool = False
    is_stuck: bool = False


@dataclass(slots=True)
class WorkerGroup:
    """One worker group, from its first member to the last.

    `ranks` are those of the attempt, by member; `here` are at the roll call, `lost` are dead,
    `gone` have left for good. `ordered` says why the attempt is left by order, `culprit` by whose
    fault.
    """

    number: int
    world_size: int
    members: dict[str, Member] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    here: dict[str, Arrival] = field(default_factory=dict)
    lost: dict[str, Loss] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    failures: dict[str, Failure] = field(default_factory=dict)
    ordered: Failure | None = None
    culprit: int | None = None
    last_tier: Tier | None = None
    _last_end_step: int = -1
    _vain_tries: Counter[Tier] = field(default_factory=Counter)

    def missing(self) -> list[str]:
        """Return the members with a rank that are neither here nor known to be lost or gone."""
        accounted = self.here.keys() | self.lost.keys() | self.gone
        return [m for m in self.ranks if m not in accounted]

    def alive_with(self, number: int) -> list[str]:
        """Return the living member with Ray's number; the dead one it replaced had the same."""
        members = self.members.values()
        return [m.member_id for m in members if m.number == number and m.member_id not in self.lost]

    def situation(self, *, is_replaceable: bool) -> Situation:
        """Return what the next tier is chosen from."""
        lost = [m for m in self.ranks if m in self.lost or m in self.gone]
        losses = [self.lost[m] for m in lost if m in self.lost]
        return Situation(
            lost=len(lost) + max(0, self.world_size - len(self.ranks)),
            survivors=sum(m in self.here for m in self.ranks),
            spares=sum(m not in self.ranks for m in self.here),
            is_node_lost=any(loss.is_node_lost for loss in losses),
            has_stuck=any(loss.is_stuck for loss in losses) or any(m in self.gone for m in lost),
            is_replaceable=is_replaceable,
            failed=tuple(t for t, times in self._vain_tries.items() if times >= _TRIES),
        )

    def has_deaths(self) -> bool:
        """Whether a rank of the attempt is dead."""
        return any(m in self.lost for m in self.ranks)

    def was_in_vain(self, tier: Tier) -> bool:
        """Whether a tier came to nothing since the run last made progress."""
        return self._vain_tries[tier] > 0

    def dismiss(self) -> None:
        """Have everybody who is here leave for good."""
        self.gone.update(self.here)
        self.here.clear()

    def strike_off(self) -> None:
        """Take their ranks from those who are dead or gone."""
        away = self.lost.keys() | self.gone
        self.ranks = {m: rank for m, rank in self.ranks.items() if m not in away}

    def seat(self) -> None:
        """Give the free ranks to the members that are here, in the order of Ray's numbers."""
        self.ranks = {m: rank for m, rank in self.ranks.items() if m in self.here}
        free = [r for r in range(self.world_size) if r not in self.ranks.values()]
        newcomers = sorted(
            (m for m in self.here if m not in self.ranks), key=lambda m: self.members[m].number
        )
        self.ranks.update(zip(newcomers, free, strict=False))
        for member_id in self.ranks:
            self.here.pop(member_id)
        self.failures.clear()
        self.ordered = self.culprit = None

    def ended(self, attempt: int, t_s: float, step: int) -> AttemptEnded:
        """Return the end of an attempt, and note whether the tier that began it was in vain."""
        if self.last_tier is not None and step <= self._last_end_step:
            self._vain_tries[self.last_tier] += 1
        else:
            self._vain_tries.clear()
        self._last_end_step = max(self._last_end_step, step)
        outcome, error, rank = self._culprit()
        return AttemptEnded(
            t_s=t_s,
            attempt=attempt,
            outcome=outcome,
            step=step,
            error=error,
            rank=rank,
            is_node_lost=any(self.lost[m].is_node_lost for m in self.ranks if m in self.lost),
        )

    def _culprit(self) -> tuple[Outcome, str, int | None]:
        """Return outcome, error and rank: of a death, else a failure of one's own, else an echo."""
        dead = sorted((self.ranks[m], m) for m in self.ranks if m in self.lost)
        failed = sorted(
            (failure.is_echo, self.ranks[m], m)
            for m, failure in self.failures.items()
            if m in self.ranks
        )
        if self.ordered is not None:
            return Outcome.HUNG, self.ordered.error, self.culprit
        own = [(rank, m) for is_echo, rank, m in failed if not is_echo]
        if own and (not dead or own[0][1] in self.lost):  # it may have ended itself after it
            rank, member_id = own[0]
            failure = self.failures[member_id]
            return failure.outcome, failure.error, rank
        if dead:
            rank, member_id = dead[0]
            others = f" (and {len(dead) - 1} more)" if len(dead) > 1 else ""
            detail = self.lost[member_id].detail or "its line broke"
            return Outcome.WORKER_DIED, f"the worker of rank {rank}{others} died: {detail}", rank
        error = self.failures[failed[0][2]].error if failed else "its ranks left it"
        return Outcome.EXCEPTION, error, None
