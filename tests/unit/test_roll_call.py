"""The roll call as a machine of plain data: who comes, who fails, who is missing."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.roll_call_rig import BOOM, ECHO, RESTART, Rig, all_dead, rank_of, tier_of
from watchdog.muster import Word
from watchdog.records import Action, Outcome
from watchdog.roll_call import Stage
from watchdog.tiers import RecoveryConfig, Renewal, Tier


def test_the_first_attempt_starts_when_all_are_there_and_rank_0_is_the_meeting_point() -> None:
    rig = Rig()
    assert rig.come(rig.member(1)).word is Word.WAIT
    first = rig.come(rig.member(0)).assignment
    assert first is not None
    assert (first.attempt, first.rank, first.world_size, first.local_world_size) == (0, 0, 2, 2)
    assert (first.host, first.port, first.tier) == ("h", 1000, None)
    assert rank_of(rig.come(rig.member(1))) == 1


def test_an_answer_that_was_lost_is_given_again() -> None:
    rig = Rig()
    rig.start_pair()
    assert rig.come(rig.member(1)).word is Word.GO
    assert rig.roll.stage is Stage.TRAINING


def test_after_an_exception_the_same_ranks_regroup_once_both_have_come() -> None:
    rig = Rig()
    rig.start_pair()
    assert rig.come(rig.member(1), 0, 1, BOOM).word is Word.WAIT
    assert rig.roll.breaking_attempt == 0
    answer = rig.come(rig.member(0), 0, 0, ECHO)
    assert (rank_of(answer), tier_of(answer)) == (0, Tier.REGROUP)
    assert rank_of(rig.come(rig.member(1), 0, 1, BOOM)) == 1
    [end] = rig.ends
    assert (end.outcome, end.rank, end.error) == (Outcome.EXCEPTION, 1, "boom")


def test_a_death_is_replaced_and_the_survivor_keeps_its_rank() -> None:
    rig = Rig()
    rig.start_pair()
    rig.die(rig.member(0))
    assert rig.come(rig.member(1), 0, 1, ECHO).word is Word.WAIT
    assert rig.roll.may_renew(0) is True
    answer = rig.come(rig.member(0, "b"))
    assert (rank_of(answer), tier_of(answer)) == (0, Tier.REPLACE)
    assert rank_of(rig.come(rig.member(1), 0, 1, ECHO)) == 1
    assert (rig.ends[0].outcome, rig.ends[0].rank) == (Outcome.WORKER_DIED, 0)


def test_ray_may_not_replace_before_the_verdict_nor_when_all_are_restarted() -> None:
    rig = Rig(renewal=Renewal.NOTHING)
    rig.start_pair()
    rig.die(rig.member(0))
    assert rig.roll.may_renew(0) is False
    rig = Rig()
    rig.start_pair()
    rig.die(rig.member(0))
    assert rig.roll.may_renew(0) is None, "rank 1 has not come yet"
    rig.verdict = dataclasses.replace(RESTART, action=Action.HALT)
    rig.come(rig.member(1), 0, 1, ECHO)
    assert rig.roll.may_renew(0) is False


def test_a_spare_takes_the_dead_rank_and_the_replacement_is_the_next_spare() -> None:
    rig = Rig(RecoveryConfig(spares=1))
    rig.start_pair()
    spare = rig.member(2)
    waiting = rig.come(spare)
    assert (waiting.word, waiting.is_spare) == (Word.WAIT, True)
    rig.die(rig.member(0))
    rig.come(rig.member(1), 0, 1, ECHO)
    answer = rig.come(spare)
    assert (rank_of(answer), tier_of(answer)) == (0, Tier.SPARE)
    assert rig.roll.may_renew(0) is True
    newcomer = rig.member(0, "b")
    assert rig.come(newcomer).is_spare
    rig.die(rig.member(1))
    rig.come(spare, 1, 0, ECHO)
    assert rank_of(rig.come(newcomer)) == 1


def test_two_deaths_at_once_are_one_end_and_both_are_replaced() -> None:
    rig = Rig()
    members = [rig.member(n, world_size=3) for n in range(3)]
    for member in members:
        rig.come(member)
    rig.die(members[0])
    rig.die(members[2])
    rig.come(members[1], 0, 1, ECHO)
    assert rig.come(rig.member(2, "b", world_size=3)).word is Word.WAIT
    assert rank_of(rig.come(rig.member(0, "b", world_size=3))) == 0
    assert len(rig.ends) == 1
    assert "and 1 more" in (rig.ends[0].error or "")


def test_a_death_while_the_ranks_gather_counts_with_the_exception() -> None:
    rig = Rig()
    rig.start_pair()
    rig.come(rig.member(1), 0, 1, BOOM)
    rig.die(rig.member(0))
    assert rig.come(rig.member(0, "b")).word is Word.GO
    assert rig.ends[0].outcome is Outcome.WORKER_DIED


def test_a_survivor_that_dies_while_a_replacement_is_awaited_is_replaced_too() -> None:
    rig = Rig()
    rig.start_pair()
    rig.die(rig.member(0))
    rig.come(rig.member(1), 0, 1, ECHO)
    rig.die(rig.member(1))
    assert rig.come(rig.member(0, "b")).word is Word.WAIT
    assert rig.come(rig.member(1, "b")).word is Word.GO


def test_all_dead_is_a_restart_of_all_by_a_new_job_where_ray_renews_nothing() -> None:
    rig = Rig(renewal=Renewal.NOTHING)
    rig.start_pair()
    all_dead(rig)
    assert rig.roll.may_renew(0) is not True
    rig.come(rig.member(0, group=1))
    answer = rig.come(rig.member(1, group=1))
    assert tier_of(answer) is Tier.RESTART


def test_a_lost_node_is_a_restart_of_all() -> None:
    rig = Rig()
    rig.start_pair()
    rig.roll.lost_number(0, 0, rig.now, "node died", is_node_lost=True)
    answer = rig.come(rig.member(1), 0, 1, ECHO)
    assert answer.word is Word.LEAVE
    assert rig.ends[0].is_node_lost


def test_a_halt_sends_everybody_away_with_the_reason() -> None:
    rig = Rig()
    rig.start_pair()
    rig.verdict = dataclasses.replace(RESTART, action=Action.HALT, reason="enough")
    rig.come(rig.member(1), 0, 1, BOOM)
    answer = rig.come(rig.member(0), 0, 0, ECHO)
    assert (answer.word, answer.reason) == (Word.LEAVE, "enough")


def test_a_replacement_that_does_not_come_in_time_is_a_restart_of_all() -> None:
    rig = Rig(RecoveryConfig(replace_s=60))
    rig.start_pair()
    rig.die(rig.member(0))
    rig.come(rig.member(1), 0, 1, ECHO)
    rig.roll.tick(59.9)
    assert rig.come(rig.member(1), 0, 1, ECHO).word is Word.WAIT
    rig.roll.tick(60.0)
    answer = rig.come(rig.member(1), 0, 1, ECHO)
    assert answer.word is Word.LEAVE
    assert "only 1 of 2 workers" in answer.reason
    assert "recovery.replace_s=60" in answer.reason
    assert rig.roll.may_renew(0) is False


def test_a_rank_that_is_stuck_beyond_reach_is_a_restart_of_all() -> None:
    rig = Rig(RecoveryConfig(gather_s=5))
    rig.start_pair()
    rig.come(rig.member(0), 0, 0, BOOM)
    rig.roll.tick(9.9)
    rig.settle()
    assert not rig.ends
    rig.roll.tick(10.0)
    rig.settle()
    assert rig.come(rig.member(0), 0, 0, BOOM).word is Word.LEAVE


def test_a_regroup_by_order_names_the_rank_that_hangs() -> None:
    rig = Rig()
    rig.start_pair()
    rig.roll.abandon(rig.now, 0, "rank 1 hangs", 1)
    assert rig.roll.breaking_attempt == 0
    rig.come(rig.member(0), 0, 0, ECHO)
    answer = rig.come(rig.member(1), 0, 1, ECHO)
    assert tier_of(answer) is Tier.REGROUP
    assert (rig.ends[0].outcome, rig.ends[0].rank) == (Outcome.HUNG, 1)


def test_a_hung_rank_that_was_ended_is_replaced() -> None:
    rig = Rig()
    rig.start_pair()
    rig.roll.abandon(rig.now, 0, "rank 1 hangs", 1)
    rig.come(rig.member(0), 0, 0, ECHO)
    rig.die(rig.member(1))
    assert tier_of(rig.come(rig.member(1, "b"))) is Tier.REPLACE
    assert rig.ends[0].outcome is Outcome.HUNG


def test_an_echo_alone_has_no_culprit() -> None:
    rig = Rig()
    rig.start_pair()
    rig.come(rig.member(0), 0, 0, ECHO)
    rig.come(rig.member(1), 0, 1, ECHO)
    assert (rig.ends[0].outcome, rig.ends[0].rank) == (Outcome.EXCEPTION, None)


def test_a_process_that_failed_and_then_ended_itself_is_blamed_for_its_failure() -> None:
    rig = Rig()
    rig.start_pair()
    rig.come(rig.member(1), 0, 1, BOOM)
    rig.die(rig.member(1))
    rig.come(rig.member(0), 0, 0, ECHO)
    assert (rig.ends[0].outcome, rig.ends[0].rank) == (Outcome.EXCEPTION, 1)


def test_after_two_tries_without_progress_the_next_tier_is_taken() -> None:
    rig = Rig()
    rig.start_pair()
    words = []
    for attempt in (0, 1, 2):
        rig.ends.clear()  # the rig's newest step is that of the first end again
        rig.come(rig.member(1), attempt, 1, BOOM)
        words.append(rig.come(rig.member(0), attempt, 0, ECHO).word)
    assert words == [Word.GO, Word.GO, Word.LEAVE], "a regroup that failed twice is not the way"


def test_who_is_done_ends_the_group_and_a_spare_returns_what_rank_0_did() -> None:
    rig = Rig(RecoveryConfig(spares=1))
    rig.start_pair()
    rig.come(rig.member(2))
    rig.roll.left("0.0a", {"step": 60})
    assert rig.come(rig.member(2)).word is Word.WAIT
    rig.roll.left("0.1a", {"step": 59})
    answer = rig.come(rig.member(2))
    assert (answer.word, answer.result) == (Word.LEAVE, {"step": 60})


def test_a_rank_that_fails_after_another_is_done_cannot_regroup() -> None:
    rig = Rig()
    rig.start_pair()
    rig.roll.left("0.0a", None)
    assert rig.come(rig.member(1), 0, 1, BOOM).word is Word.LEAVE


def test_a_member_of_an_older_group_is_sent_away() -> None:
    rig = Rig()
    rig.come(rig.member(0, group=3))
    assert rig.come(rig.member(0, group=2)).word is Word.LEAVE


def test_a_watchdog_that_was_restarted_learns_who_trains() -> None:
    before = Rig()
    before.start_pair()
    rig = Rig()
    rig.attempt = 4
    rig.roll.enrolled(rig.member(0), 4, 0)
    rig.roll.enrolled(rig.member(1), 4, 1)
    rig.come(rig.member(1), 4, 1, BOOM)
    answer = rig.come(rig.member(0), 4, 0, ECHO)
    assert (rank_of(answer), tier_of(answer)) == (0, Tier.REGROUP)
    assert rig.ends[0].attempt == 4


def test_a_rank_the_restarted_watchdog_never_heard_of_is_waited_for_and_then_counted_lost() -> None:
    rig = Rig(RecoveryConfig(gather_s=5))
    rig.come(rig.member(1), 4, 1, BOOM)
    assert not rig.ends
    rig.roll.tick(10.0)
    rig.settle()
    assert rig.ends[0].attempt == 4


def test_an_elastic_group_that_ray_resized_is_taken_over_at_its_new_size() -> None:
    rig = Rig(renewal=Renewal.NOTHING)
    rig.start_pair()
    rig.die(rig.member(0))
    rig.die(rig.member(1))
    rig.come(rig.member(0, "b", world_size=1))
    answer = rig.come(rig.member(0, "b", world_size=1))
    assert answer.assignment is not None
    assert (answer.assignment.world_size, answer.assignment.tier) == (1, Tier.RESTART)


@pytest.mark.parametrize("told_twice", [False, True])
def test_a_death_told_by_the_line_and_by_ray_is_one_death(told_twice: bool) -> None:
    rig = Rig()
    rig.start_pair()
    rig.die(rig.member(0))
    if told_twice:
        rig.roll.lost_number(0, 0, rig.now, "exit code 137", is_node_lost=False)
    rig.come(rig.member(1), 0, 1, ECHO)
    assert len(rig.ends) == 1
