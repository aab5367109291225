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
from enum import StrEnum
from typing import Any

from watchdog.history import RunHistory
from watchdog.muster import Answer, Arrival, Assignment, Failure, Member, Word
from watchdog.records import Action, AttemptEnded, Outcome, Verdict
from watchdog.tiers import RecoveryConfig, Renewal, Situation, Tier, choose_tier
from watchdog.worker_group import Loss, WorkerGroup

#: Chosen: workers enroll within a second of their start, and of the watchdog's; after so long (s) a
#: group of which only deaths are known has nobody else.
_ENROLLED_S = 10.0


class Stage(StrEnum):
    """Where a worker group is between two attempts."""

    GATHERING = "gathering"  # an attempt is to start as soon as enough members are here
    TRAINING = "training"
    BREAKING = "breaking"  # the attempt broke; not all of its ranks are accounted for
    JUDGING = "judging"  # it has ended; the verdict is awaited
    CLOSED = "closed"  # everybody leaves


class RollCall:
    """The roll call of one run; `attempt` is the one that trains or was the last to."""

    def __init__(self, config: RecoveryConfig, *, renewal: Renewal = Renewal.SINGLE) -> None:
        self._config = config
        self._renewal = renewal
        self._group: WorkerGroup | None = None
        self._assignments: dict[str, Assignment] = {}
        self._deadline_s: float | None = None
        self._tier: Tier | None = None
        self._is_overdue = False
        self._result: Any = None
        # The group of the first death that was heard of nobody known, and when; then given up.
        self._unknown: tuple[int, float] | None = None
        self._stillborn: int | None = None
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
        if self._is_closed or member.member_id in group.gone:
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
        known = group.lost.setdefault(member_id, Loss(detail, is_node_lost))
        known.detail = detail or known.detail
        known.is_node_lost = known.is_node_lost or is_node_lost
        group.here.pop(member_id, None)
        if self.stage is Stage.TRAINING and member_id in group.ranks:
            self._break(t_s)
        elif self._is_opening:
            self._give_up(group.members[member_id].number, known.detail)

    def lost_number(
        self, group: int, number: int, t_s: float, detail: str, *, is_node_lost: bool
    ) -> None:
        """Strike off the member with Ray's `number`: Ray says that its process is dead."""
        if self._group is None:
            self._unknown = self._unknown or (group, t_s)
        if self._group is None or self._group.number != group:
            return
        alive = self._group.alive_with(number)
        for member_id in alive:
            self.lost(member_id, t_s, detail, is_node_lost=is_node_lost)
        if not alive and self._is_opening:  # it died before it came here
            self._give_up(number, detail)

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
        if self._unknown is not None and t_s >= self._unknown[1] + _ENROLLED_S:
            self._stillborn, self._unknown = self._unknown[0], None
        group = self._group
        if group is None or self._deadline_s is None or t_s < self._deadline_s:
            return
        if self.stage is Stage.BREAKING:
            for member_id in group.missing():
                group.lost[member_id] = Loss("it did not leave the attempt", is_stuck=True)
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
        return group.ended(self.attempt, t_s, newest_step)

    def judged(self, verdict: Verdict, t_s: float) -> None:
        """Take the verdict on the end in: a tier is chosen, or everybody leaves."""
        group = self._group
        if group is None or self.stage is not Stage.JUDGING:
            return
        if verdict.action is Action.HALT:
            self._close(verdict.reason)
            return
        is_replaceable = self._renewal is Renewal.SINGLE
        situation = group.situation(is_replaceable=is_replaceable)
        self._tier = group.last_tier = choose_tier(situation, self._config)
        if self._tier is Tier.RESTART and not self._is_renewed(group, situation):
            self._close(f"all workers are restarted: {verdict.reason}")
            if self._renewal is Renewal.NOTHING and not group.here:
                # Ray may bring a new group by itself.
                self._group, self.stage = None, Stage.GATHERING
            return
        if self._tier is Tier.RESTART and not is_replaceable:
            self.reason = f"all workers are restarted: {verdict.reason}"
            group.dismiss()
        group.strike_off()
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
        group.seat()
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
        self.stage, self._deadline_s, self._tier = Stage.TRAINING, None, None

    @property
    def breaking_attempt(self) -> int | None:
        """Return the attempt that all of its ranks have to leave, if one broke."""
        return self.attempt if self.stage in (Stage.BREAKING, Stage.CLOSED) else None

    def may_renew(self, group: int) -> bool | None:
        """Whether Ray may start anew what died, and all where it can do no less.

        None while that is not decided yet.
        """
        if self._group is None:
            return False if self._stillborn == group else None
        if self._group.number != group:
            return False
        if self.stage is Stage.CLOSED or self._renewal is Renewal.NOTHING:
            return False
        if any(loss.is_node_lost for loss in self._group.lost.values()):
            return False
        if self.stage in (Stage.BREAKING, Stage.JUDGING):
            return None
        is_restart = self.stage is Stage.GATHERING and self._tier is Tier.RESTART
        return is_restart or self._renewal is Renewal.SINGLE

    # -- inside ----------------------------------------------------------------------------

    @property
    def _is_closed(self) -> bool:
        return self.stage is Stage.CLOSED

    @property
    def _is_opening(self) -> bool:
        """Whether a group is gathering for its first attempt."""
        return self.stage is Stage.GATHERING and self._tier is None

    def _give_up(self, number: int, detail: str) -> None:
        """Let nobody be renewed: without an attempt there is no verdict, and no budget that ends.

        Left to itself, Ray would for ever start a worker that dies at each start.
        """
        self._close(f"worker {number} died before an attempt began{detail and f': {detail}'}")

    def _enter(self, member: Member) -> WorkerGroup | None:
        """Return the group of a member, opened if it is new; None if it is a thing of the past."""
        group = self._group
        if group is not None and member.group < group.number:
            return None
        if group is None or member.group > group.number:
            group = self._group = WorkerGroup(member.group, member.world_size)
            self._unknown = None
            self._assignments = {}
            self.stage, self._deadline_s, self._tier, self.reason = Stage.GATHERING, None, None, ""
        group.members.setdefault(member.member_id, member)
        if member.port:
            group.members[member.member_id] = member
        return group

    def _learn(self, group: WorkerGroup, arrival: Arrival) -> None:
        self.attempt = arrival.attempt
        self.stage = Stage.TRAINING
        group.ranks = {arrival.member.member_id: arrival.rank}

    def _break(self, t_s: float) -> None:
        self.stage, self._is_overdue = Stage.BREAKING, False
        # Beyond the time a stuck process has until it is ended: then it counts as dead by itself.
        self._deadline_s = t_s + 2 * self._config.gather_s

    def _is_renewed(self, group: WorkerGroup, situation: Situation) -> bool:
        """Whether a restart of all needs no new job: Ray makes one of what it finds dead.

        The second restart in a row without progress is the supervisor's, which waits between them.
        """
        if self._renewal is Renewal.NOTHING or group.was_in_vain(Tier.RESTART):
            return False
        if situation.is_node_lost or situation.has_stuck or not group.has_deaths():
            return False
        return self._renewal is Renewal.ALL or situation.survivors == 0

    def _close(self, reason: str) -> None:
        self.stage, self.reason, self._deadline_s = Stage.CLOSED, reason, None

    def _is_settled(self, group: WorkerGroup) -> bool:
        """Whether nobody is missing; a rank that this watchdog never heard of is, for a time."""
        has_all = len(group.ranks) >= group.world_size or self._is_overdue
        return has_all and not group.missing()
