from typing import Any

import pytest

from watchdog.baseline import Baseline
from watchdog.incidents import Incident
from watchdog.proof import prove
from watchdog.records import Cause

BASELINE = Baseline(
    anchor_step=40, level=2.0, slope=0.0, noise=0.1, steps=64, span_steps=64, is_log=False
)


def incident(cause: Cause, losses: list[float], **fields: Any) -> Incident:
    values: dict[str, Any] = {
        "id": f"run-1/{cause}/41",
        "cause": cause,
        "onset_step": 41,
        "bad_until_step": 50,
        "step_s": 1.0,
        "baseline": BASELINE,
        "is_acted_on": True,
        "steps_lost": 18,
        "fault_t_s": 41.0,
        "passed_t_s": 75.0,
    }
    made = Incident(**{**values, **fields})
    made.losses.extend(losses)
    return made


@pytest.mark.parametrize(
    ("cause", "loss", "count", "helped"),
    [
        (Cause.SPIKE, 2.0, 8, True),
        (Cause.SPIKE, 2.29, 8, True),
        (Cause.SPIKE, 2.31, 8, False),
        (Cause.NONFINITE, 1.5, 8, True),
        (Cause.PLATEAU, 2.0, 64, False),  # as stuck as before
        (Cause.PLATEAU, 1.96, 64, False),  # lower, but not beyond the noise of two medians
        (Cause.PLATEAU, 1.95, 64, True),
        (Cause.PLATEAU, 1.95, 8, False),  # too few losses to be sure
        (Cause.CRASH, 9.9, 8, True),  # the numbers were never at fault
    ],
)
def test_helped_means_back_in_the_band_or_surely_better_than_stuck(
    cause: Cause, loss: float, count: int, helped: bool
) -> None:
    proof = prove(incident(cause, [loss] * count), 60, is_over=True)
    assert proof.helped is helped


def test_proof_holds_the_counterfactual_and_the_cost() -> None:
    proof = prove(incident(Cause.SPIKE, [2.1] * 8), 60, is_over=True)
    assert (proof.forecast_loss, proof.actual_loss, proof.steps_lost) == (2.0, 2.1, 18)
    assert proof.seconds_lost == 24.0  # 34 s for ten steps of a second each
    assert proof.reason == (
        "the intervention helped: loss 2.1, forecast without the incident 2 past step 50; "
        "18 steps lost"
    )


@pytest.mark.parametrize(
    ("has_struck_again", "words"),
    [(True, "did not help: the same cause struck again"), (False, "not verified")],
)
def test_what_was_superseded_is_not_proven(has_struck_again: bool, words: str) -> None:
    bad = incident(Cause.SPIKE, [], passed_t_s=None)
    proof = prove(bad, 45, is_over=False, has_struck_again=has_struck_again)
    assert not proof.helped
    assert words in proof.reason
    assert proof.seconds_lost is None


def test_run_that_ends_too_early_leaves_a_proof_that_says_so() -> None:
    struck = incident(Cause.SPIKE, [2.1] * 3, clean_steps=3)
    proof = prove(struck, 53, is_over=False, has_run_ended=True)
    assert (proof.forecast_loss, proof.actual_loss, proof.helped) == (2.0, 2.1, False)
    assert proof.reason == (
        "not verified: the run ended after 3 clean steps past the bad step; 18 steps lost"
    )
