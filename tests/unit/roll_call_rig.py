"""A roll call with members by number, for the tests of the roll call and of what Ray renews."""

from __future__ import annotations

from watchdog.history import RunHistory
from watchdog.muster import Answer, Arrival, Failure, Member, Word
from watchdog.records import Action, AttemptEnded, Cause, Outcome, Verdict
from watchdog.roll_call import RollCall
from watchdog.tiers import RecoveryConfig, Renewal, Tier

RESTART = Verdict(
    verdict_id=1,
    t_s=0.0,
    attempt=0,
    generation=0,
    step=9,
    cause=Cause.CRASH,
    action=Action.RESTART,
    reason="scripted",
    onset_step=10,
)
BOOM = Failure(outcome=Outcome.EXCEPTION, step=9, error="boom")
ECHO = Failure(outcome=Outcome.EXCEPTION, step=9, error="Connection closed", is_echo=True)


class Rig:
    """A roll call with members by number, and what the registrar would do for it."""

    def __init__(
        self, config: RecoveryConfig | None = None, *, renewal: Renewal = Renewal.SINGLE
    ) -> None:
        self.roll = RollCall(config or RecoveryConfig(), renewal=renewal)
        self.attempt = -1
        self.now = 0.0
        self.verdict = RESTART
        self.ends: list[AttemptEnded] = []

    def member(self, number: int, life: str = "a", group: int = 0, world_size: int = 2) -> Member:
        return Member(
            member_id=f"{group}.{number}{life}",
            group=group,
            number=number,
            world_size=world_size,
            host="h",
            port=1000 + number,
            node="n",
        )

    def come(
        self, member: Member, attempt: int = -1, rank: int = -1, failure: Failure | None = None
    ) -> Answer:
        arrival = Arrival(member=member, attempt=attempt, rank=rank, failure=failure)
        self.roll.arrived(arrival, self.now)
        self.settle()
        return self.roll.arrived(arrival, self.now)

    def settle(self) -> None:
        if self.roll.has_ended:
            self.ends.append(self.roll.end(self.now, 9 + len(self.ends)))
            self.roll.judged(self.verdict, self.now)
        if self.roll.wants_start():
            self.attempt += 1
            self.roll.start(RunHistory(next_attempt=self.attempt), None, ())

    def start_pair(self) -> None:
        self.come(self.member(0))
        assert self.come(self.member(1)).word is Word.GO
        assert self.come(self.member(0)).word is Word.GO

    def die(self, member: Member) -> None:
        self.roll.lost(member.member_id, self.now)
        self.settle()


def rank_of(answer: Answer) -> int:
    assert answer.assignment is not None, answer
    return answer.assignment.rank


def tier_of(answer: Answer) -> Tier | None:
    assert answer.assignment is not None, answer
    return answer.assignment.tier


def all_dead(rig: Rig, life: str = "a") -> None:
    rig.die(rig.member(0, life))
    rig.die(rig.member(1, life))
