"""The roll call: who is there, who failed, who is missing, and so which attempt comes next.

A worker process comes here before each attempt and waits for its rank. When an attempt breaks,
every living rank comes back and the dead are struck off; once all are accounted for, the attempt
has ended and the verdict on it chooses a tier. Whatever does not come together in time ends in a
restart of all workers, which is the supervisor's.

The machine is a function of what it is told, in order, with the time as data. A watchdog that was
restarted learns from `enrolled` who trains.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from watchdog.history import RunHistory
from watchdog.muster import Answer, Arrival, Assignment, Failure, Member, Word
from watchdog.records import Action, AttemptEnded, Outcome, Verdict
from watchdog.tiers import RecoveryConfig, Situation, Tier, choose_tier


class Stage(StrEnum):
    """Where a worker group is between two attempts."""

    GATHERING = "gathering"  # an attempt is to start as soon as enough members are here
    TRAINING = "training"
    BREAKING = "breaking"  # the attempt broke; not all of its ranks are accounted for
    JUDGING = "judging"  # it has ended; the verdict is awaited
    CLOSED = "closed"  # everybody leaves


@dataclass(slots=True)
class _Loss:
    detail: str
    is_node_lost: bool = False
    is_stuck: bool = False


@dataclass(slots=True)
class _Group:
    """One worker group, from its first member to the last."""

    number: int
    world_size: int
    members: dict[str, Member] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    here: dict[str, Arrival] = field(default_factory=dict)
    lost: dict[str, _Loss] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    failures: dict[str, Failure] = field(default_factory=dict)
    ordered: Failure | None = None
    culprit: int | None = None
    failed_tiers: set[Tier] = field(default_factory=set)
    last_tier: Tier | None = None
    last_end_step: int = -1


class RollCall:
    """The roll call of one run; `attempt` is the one that trains or was the last to."""

    def __init__(self, config: RecoveryConfig, *, is_replaceable: bool = True) -> None:
        self._config = config
        self._is_replaceable = is_replaceable
        self._group: _Group | None = None
        self._assignments: dict[str, Assignment] = {}
        self._deadline_s: float | None = None
        self._tier: Tier | None = None
        self._is_overdue = False
        self._result: Any = None
        self.stage = Stage.GATHERING
        self.attempt = -1
        self.reason = ""

    # -- what it is told -------------------------------------------------------------------

    def arrived(self, arrival: Arrival, t_s: float) -> Answer:
        """Take a member in that is at the roll call; asked again and again, the answer changes."""
        member = arrival.member
        group = self._enter(member)
        if group is None:
            return Answer(word=Word.LEAVE, reason="a later worker group has taken over")
        assigned = self._assignments.get(member.member_id)
        if assigned is not None and arrival.attempt < assigned.attempt and not self._is_closed:
            return Answer(word=Word.GO, assignment=assigned)  # the first answer was lost
        if self._is_closed:
            return Answer(word=Word.LEAVE, reason=self.reason, result=self._result)
        if arrival.attempt >= 0 and self.attempt < arrival.attempt:
            self._learn(group, arrival)  # this watchdog was restarted and knows nothing
        if member.member_id not in group.here:
            group.here[member.member_id] = arrival
        if arrival.failure is not None and arrival.attempt == self.attempt:
            group.failures[member.member_id] = arrival.failure
        if self.stage is Stage.TRAINING and member.member_id in group.ranks:
            self._break(t_s)
        return Answer(word=Word.WAIT, is_spare=self.stage is Stage.TRAINING)

    def enrolled(self, member: Member, attempt: int, rank: int) -> None:
        """Take in that a member lives, and as which rank of which attempt it trains."""
        group = self._enter(member)
        if group is not None and attempt >= 0:
            arrival = Arrival(member=member, attempt=attempt, rank=rank)
            if attempt > self.attempt:
                self._learn(group, arrival)
            elif attempt == self.attempt:
                group.ranks[member.member_id] = rank

    def lost(
        self, member_id: str, t_s: float, detail: str = "", *, is_node_lost: bool = False
    ) -> None:
        """Strike a member off: its process is dead."""
        group = self._group
        if group is None or member_id in group.gone or member_id not in group.members:
            return
        known = group.lost.setdefault(member_id, _Loss(detail, is_node_lost))
        known.detail = detail or known.detail
        known.is_node_lost = known.is_node_lost or is_node_lost
        group.here.pop(member_id, None)
        if self.stage is Stage.TRAINING and member_id in group.ranks:
            self._break(t_s)

    def lost_number(
        self, group: int, number: int, t_s: float, detail: str, *, is_node_lost: bool
    ) -> None:
        """Strike off the member with Ray's `number`: Ray says that its process is dead."""
        if self._group is None or self._group.number != group:
            return
        for member_id in self._with_number(self._group, number):
            self.lost(member_id, t_s, detail, is_node_lost=is_node_lost)

    def left(self, member_id: str, result: Any = None) -> None:
        """Take in that a member is done for good; where all ranks are, so is the group."""
        group = self._group
        if group is not None and member_id in group.members:
            if group.ranks.get(member_id) == 0:
                self._result = result
            group.gone.add(member_id)
            group.here.pop(member_id, None)
            is_over = member_id in group.ranks and all(m in group.gone for m in group.ranks)
            if self.stage is Stage.TRAINING and is_over:
                self._close("the run is over")

    def abandon(
        self, t_s: float, attempt: int | None, reason: str, rank: int | None = None
    ) -> None:
        """Break the attempt by order: `rank` hangs, or nobody knows which."""
        group = self._group
        is_present = attempt is None or attempt == self.attempt
        if group is not None and self.stage is Stage.TRAINING and is_present:
            group.ordered = Failure(outcome=Outcome.HUNG, step=0, error=reason)
            group.culprit = rank
            self._break(t_s)

    def tick(self, t_s: float) -> None:
        """Take the time in: what took too long goes to the next tier."""
        group = self._group
        if group is None or self._deadline_s is None or t_s < self._deadline_s:
            return
        if self.stage is Stage.BREAKING:
            for member_id in self._missing(group):
                group.lost[member_id] = _Loss("it did not leave the attempt", is_stuck=True)
            self._is_overdue, self._deadline_s = True, None
        elif self.stage is Stage.GATHERING and self._tier is not None:
            here, wanted = len(group.here), group.world_size
            self._close(
                f"only {here} of {wanted} workers were there {self._config.replace_s:g} s after "
                f"the verdict; limit is recovery.replace_s={self._config.replace_s:g}"
            )

    # -- what it concludes -----------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """Whether the attempt broke and every rank of it is accounted for."""
        group = self._group
        return group is not None and self.stage is Stage.BREAKING and self._is_settled(group)

    def end(self, t_s: float, newest_step: int) -> AttemptEnded:
        """Return the end of the attempt, once it `has_ended`; the verdict on it comes next."""
        group = self._group
        assert group is not None, "the attempt of a group has ended"
        self.stage, self._deadline_s = Stage.JUDGING, None
        if group.last_tier is not None and newest_step <= group.last_end_step:
            group.failed_tiers.add(group.last_tier)
        else:
            group.failed_tiers.clear()
        group.last_end_step = max(group.last_end_step, newest_step)
        return self._ending(group, t_s, newest_step)

    def judged(self, verdict: Verdict, t_s: float) -> None:
        """Take the verdict on the end in: a tier is chosen, or everybody leaves."""
        group = self._group
        if group is None or self.stage is not Stage.JUDGING:
            return
        if verdict.action is Action.HALT:
            self._close(verdict.reason)
            return
        self._tier = choose_tier(self._situation(group), self._config)
        group.last_tier = self._tier
        if self._tier is Tier.RESTART:
            self._close(f"all workers are restarted: {verdict.reason}")
            if not self._is_replaceable and not group.here:
                self._group, self.stage = (
                    None,
                    Stage.GATHERING,
                )  # Ray may bring a new group by itself
            return
        self._strike_off(group)
        self.stage = Stage.GATHERING
        self._deadline_s = t_s + self._config.replace_s

    def wants_start(self) -> bool:
        """Whether enough members are here for the next attempt."""
        group = self._group
        return (
            group is not None
            and self.stage is Stage.GATHERING
            and len(group.here) >= group.world_size
        )

    def start(
        self, history: RunHistory, verdict: Verdict | None, held_steps: tuple[int, ...]
    ) -> None:
        """Hand out the ranks of the next attempt. Whoever had a rank keeps it."""
        group = self._group
        assert group is not None, "somebody is here"
        tier = self._tier or (Tier.RESTART if history.next_attempt else None)
        self._seat(group)
        by_rank = sorted(group.ranks, key=lambda m: group.ranks[m])
        first = group.members[by_rank[0]]
        nodes = Counter(group.members[m].node for m in by_rank)
        self.attempt = history.next_attempt
        self._assignments = {
            member_id: Assignment(
                attempt=self.attempt,
                rank=group.ranks[member_id],
                world_size=group.world_size,
                local_world_size=nodes[group.members[member_id].node],
                host=first.host,
                port=first.port,
                tier=tier,
                history=history,
                verdict=verdict,
                held_steps=held_steps,
            )
            for member_id in by_rank
        }
        for member_id in by_rank:
            group.here.pop(member_id)
        group.failures.clear()
        group.ordered = group.culprit = None
        self.stage, self._deadline_s, self._tier = Stage.TRAINING, None, None

    @property
    def breaking_attempt(self) -> int | None:
        """Return the attempt that all of its ranks have to leave, if one broke."""
        return self.attempt if self.stage in (Stage.BREAKING, Stage.CLOSED) else None

    def may_replace(self, group: int) -> bool | None:
        """Whether Ray may start a dead worker anew; None while that is not decided yet."""
        if self._group is None or self._group.number != group:
            return None if self._group is None else False
        is_wanted = self._config.replace or self._config.spares > 0
        if self.stage is Stage.CLOSED or not is_wanted or not self._is_replaceable:
            return False
        if any(loss.is_node_lost for loss in self._group.lost.values()):
            return False
        return None if self.stage in (Stage.BREAKING, Stage.JUDGING) else True

    # -- inside ----------------------------------------------------------------------------

    @property
    def _is_closed(self) -> bool:
        return self.stage is Stage.CLOSED

    def _enter(self, member: Member) -> _Group | None:
        """Return the group of a member, opened if it is new; None if it is a thing of the past."""
        group = self._group
        if group is not None and member.group < group.number:
            return None
        if group is None or member.group > group.number:
            group = self._group = _Group(member.group, member.world_size)
            self._assignments = {}
            self.stage, self._deadline_s, self._tier, self.reason = Stage.GATHERING, None, None, ""
        group.members.setdefault(member.member_id, member)
        if member.port:
            group.members[member.member_id] = member
        return group

    def _learn(self, group: _Group, arrival: Arrival) -> None:
        self.attempt = arrival.attempt
        self.stage = Stage.TRAINING
        group.ranks = {arrival.member.member_id: arrival.rank}

    def _break(self, t_s: float) -> None:
        self.stage, self._is_overdue = Stage.BREAKING, False
        # Beyond the time a stuck process has until it is ended: then it counts as dead by itself.
        self._deadline_s = t_s + 2 * self._config.gather_s

    def _close(self, reason: str) -> None:
        self.stage, self.reason, self._deadline_s = Stage.CLOSED, reason, None

    def _missing(self, group: _Group) -> list[str]:
        accounted = group.here.keys() | group.lost.keys() | group.gone
        return [m for m in group.ranks if m not in accounted]

    def _is_settled(self, group: _Group) -> bool:
        """Whether nobody is missing; a rank that this watchdog never heard of is, for a time."""
        has_all = len(group.ranks) >= group.world_size or self._is_overdue
        return has_all and not self._missing(group)

    def _with_number(self, group: _Group, number: int) -> list[str]:
        """Return the living member with Ray's number; a replaced one has the same."""
        return [
            m.member_id
            for m in group.members.values()
            if m.number == number and m.member_id not in group.lost
        ]

    def _situation(self, group: _Group) -> Situation:
        lost = [m for m in group.ranks if m in group.lost or m in group.gone]
        return Situation(
            lost=len(lost) + max(0, group.world_size - len(group.ranks)),
            survivors=sum(m in group.here for m in group.ranks),
            spares=sum(m not in group.ranks for m in group.here),
            is_node_lost=any(group.lost[m].is_node_lost for m in lost if m in group.lost),
            has_stuck=any(group.lost[m].is_stuck for m in lost if m in group.lost)
            or any(m in group.gone for m in group.ranks),
            is_replaceable=self._is_replaceable,
            failed=tuple(group.failed_tiers),
        )

    def _strike_off(self, group: _Group) -> None:
        for member_id in [m for m in group.ranks if m in group.lost]:
            del group.ranks[member_id]

    def _seat(self, group: _Group) -> None:
        """Give the free ranks to the members that are here, in the order of Ray's numbers."""
        group.ranks = {m: rank for m, rank in group.ranks.items() if m in group.here}
        free = [r for r in range(group.world_size) if r not in group.ranks.values()]
        newcomers = sorted(
            (m for m in group.here if m not in group.ranks), key=lambda m: group.members[m].number
        )
        group.ranks.update(zip(newcomers, free, strict=False))

    def _ending(self, group: _Group, t_s: float, step: int) -> AttemptEnded:
        """Return the end with its culprit: a death, else a failure of one's own, else an echo."""
        dead = sorted((group.ranks[m], m) for m in group.ranks if m in group.lost)
        failed = sorted(
            (failure.is_echo, group.ranks[m], m)
            for m, failure in group.failures.items()
            if m in group.ranks
        )
        own = [(rank, m) for is_echo, rank, m in failed if not is_echo]
        if group.ordered is not None:
            return self._record(t_s, step, Outcome.HUNG, group.ordered.error, group.culprit)
        if own and (not dead or own[0][1] in group.lost):
            rank, member_id = own[0]
            failure = group.failures[member_id]
            return self._record(t_s, step, failure.outcome, failure.error, rank)
        if dead:
            rank, member_id = dead[0]
            loss = group.lost[member_id]
            others = f" (and {len(dead) - 1} more)" if len(dead) > 1 else ""
            error = f"the worker of rank {rank}{others} died: {loss.detail or 'its line broke'}"
            return self._record(
                t_s, step, Outcome.WORKER_DIED, error, rank, is_node_lost=loss.is_node_lost
            )
        error = group.failures[failed[0][2]].error if failed else "its ranks left it"
        return self._record(t_s, step, Outcome.EXCEPTION, error, None)

    def _record(
        self,
        t_s: float,
        step: int,
        outcome: Outcome,
        error: str,
        rank: int | None,
        *,
        is_node_lost: bool = False,
    ) -> AttemptEnded:
        return AttemptEnded(
            t_s=t_s,
            attempt=self.attempt,
            outcome=outcome,
            step=step,
            error=error,
            rank=rank,
            is_node_lost=is_node_lost,
        )
