"""What Ray starts anew within its job, and when it is told to let be."""

from __future__ import annotations

import pytest

from tests.unit.roll_call_rig import ECHO, Rig, all_dead, rank_of, tier_of
from watchdog.muster import Word
from watchdog.roll_call import RollCall, Stage
from watchdog.tiers import Renewal, Tier


@pytest.mark.parametrize("renewal", [Renewal.SINGLE, Renewal.ALL])
def test_where_nobody_lives_ray_starts_all_anew_in_the_same_job(renewal: Renewal) -> None:
    rig = Rig(renewal=renewal)
    rig.start_pair()
    all_dead(rig)
    assert rig.roll.may_renew(0) is True
    rig.come(rig.member(0, "b"))
    answer = rig.come(rig.member(1, "b"))
    assert (rank_of(answer), tier_of(answer)) == (1, Tier.RESTART)
    assert rig.roll.stage is Stage.TRAINING


def test_where_ray_renews_all_or_none_the_survivors_leave_and_everybody_comes_anew() -> None:
    rig = Rig(renewal=Renewal.ALL)
    rig.start_pair()
    rig.die(rig.member(0))
    assert rig.roll.may_renew(0) is None, "rank 1 has not come yet"
    answer = rig.come(rig.member(1), 0, 1, ECHO)
    assert answer.word is Word.LEAVE
    assert "all workers are restarted" in answer.reason
    assert rig.roll.may_renew(0) is True
    rig.come(rig.member(1, "b"))
    assert rig.come(rig.member(1), 0, 1, ECHO).word is Word.LEAVE, "not even when it asks again"
    answer = rig.come(rig.member(0, "b"))
    assert (rank_of(answer), tier_of(answer)) == (0, Tier.RESTART)
    rig.roll.left("0.1a")
    assert rig.roll.stage is Stage.TRAINING, "who left before has no part in this attempt"


def test_a_second_restart_without_progress_is_left_to_the_supervisor_who_waits() -> None:
    rig = Rig(renewal=Renewal.ALL)
    rig.start_pair()
    rig.roll.end = lambda t_s, newest_step: RollCall.end(rig.roll, t_s, 9)  # type: ignore[method-assign]
    all_dead(rig)
    rig.come(rig.member(0, "b"))
    rig.come(rig.member(1, "b"))
    all_dead(rig, "b")
    assert rig.roll.may_renew(0) is False


@pytest.mark.parametrize("renewal", [Renewal.SINGLE, Renewal.ALL])
def test_a_lost_node_needs_a_new_job(renewal: Renewal) -> None:
    rig = Rig(renewal=renewal)
    rig.start_pair()
    for number in (0, 1):
        rig.roll.lost_number(0, number, 0.0, "its node died", is_node_lost=True)
    rig.settle()
    assert rig.roll.may_renew(0) is False


@pytest.mark.parametrize("has_come", [False, True])
def test_a_worker_that_dies_before_an_attempt_began_is_not_started_anew_for_ever(
    has_come: bool,
) -> None:
    rig = Rig()
    rig.come(rig.member(0))
    if has_come:
        rig.roll.enrolled(rig.member(1), -1, -1)
    rig.roll.lost_number(0, 1, 0.0, "exit code 70", is_node_lost=False)
    assert rig.roll.may_renew(0) is False
    answer = rig.come(rig.member(0))
    assert answer.word is Word.LEAVE
    assert answer.reason == "worker 1 died before an attempt began: exit code 70"


def test_a_group_of_which_only_deaths_are_heard_is_given_up_after_a_while() -> None:
    rig = Rig()
    rig.roll.lost_number(0, 0, 5.0, "exit code 7", is_node_lost=False)
    rig.roll.lost_number(0, 0, 14.0, "exit code 7", is_node_lost=False)
    rig.roll.tick(14.9)
    assert rig.roll.may_renew(0) is None, "the watchdog may just have been restarted"
    rig.roll.tick(15.0)
    assert rig.roll.may_renew(0) is False
    rig.start_pair()
    assert rig.roll.may_renew(0) is True, "who comes after all is known"
