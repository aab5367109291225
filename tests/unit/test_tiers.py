"""The table of tiers and the backoff, as tables."""

from __future__ import annotations

import pytest

from watchdog.tiers import RecoveryConfig, Situation, Tier, backoff_s, choose_tier

ALL = RecoveryConfig(spares=1)


@pytest.mark.parametrize(
    ("lost", "survivors", "spares", "expected"),
    [
        (0, 2, 0, Tier.REGROUP),  # an exception: everybody lives
        (0, 2, 1, Tier.REGROUP),
        (1, 1, 1, Tier.SPARE),
        (1, 1, 0, Tier.REPLACE),
        (2, 2, 1, Tier.REPLACE),  # more dead than spares
        (2, 0, 1, Tier.RESTART),  # nobody is left to feed the newcomers
        (1, 0, 1, Tier.SPARE),  # a spare takes the place of the only rank: from a copy or storage
    ],
)
def test_what_lives_chooses_the_tier(
    lost: int, survivors: int, spares: int, expected: Tier
) -> None:
    assert choose_tier(Situation(lost=lost, survivors=survivors, spares=spares), ALL) is expected


@pytest.mark.parametrize(
    ("config", "lost", "expected"),
    [
        (RecoveryConfig(regroup=False), 0, Tier.RESTART),
        (RecoveryConfig(replace=False), 1, Tier.RESTART),
        (RecoveryConfig(spares=0), 1, Tier.REPLACE),
        (RecoveryConfig(replace=False, spares=1), 1, Tier.SPARE),
        (RecoveryConfig(), 0, Tier.REGROUP),
    ],
)
def test_a_tier_that_is_off_is_passed_over(
    config: RecoveryConfig, lost: int, expected: Tier
) -> None:
    assert choose_tier(Situation(lost=lost, survivors=1, spares=1), config) is expected


@pytest.mark.parametrize(
    "situation",
    [
        Situation(lost=1, survivors=1, spares=1, is_node_lost=True),
        Situation(lost=1, survivors=1, spares=1, has_stuck=True),
        Situation(lost=1, survivors=1, spares=1, is_replaceable=False),
        Situation(lost=1, survivors=1, spares=1, failed=(Tier.SPARE, Tier.REPLACE)),
        Situation(lost=0, survivors=2, failed=(Tier.REGROUP,)),
        Situation(lost=0, survivors=2, failed=(Tier.REGROUP, Tier.RESTART)),
    ],
)
def test_what_cannot_help_leaves_the_restart_of_all(situation: Situation) -> None:
    assert choose_tier(situation, ALL) is Tier.RESTART


def test_a_spare_that_came_to_nothing_leads_to_a_replacement() -> None:
    now = Situation(lost=1, survivors=1, spares=1, failed=(Tier.SPARE,))
    assert choose_tier(now, ALL) is Tier.REPLACE


def test_the_first_restart_does_not_wait() -> None:
    assert backoff_s(0, RecoveryConfig(), seed=3) == 0.0


@pytest.mark.parametrize(
    ("restarts", "full_s"), [(1, 2.0), (2, 4.0), (3, 8.0), (4, 10.0), (5, 10.0), (400, 10.0)]
)
def test_the_wait_doubles_up_to_its_limit_and_loses_at_most_half(
    restarts: int, full_s: float
) -> None:
    config = RecoveryConfig(backoff_s=2.0, backoff_max_s=10.0)
    waits = {backoff_s(restarts, config, seed) for seed in range(50)}
    assert all(full_s / 2 <= wait <= full_s for wait in waits)
    assert len(waits) > 40, "runs that died together come back apart"
    assert backoff_s(restarts, config, 7) == backoff_s(restarts, config, 7)
