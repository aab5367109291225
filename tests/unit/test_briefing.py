"""The top of a report: what somebody who was woken has to know."""

from __future__ import annotations

from runner.briefing import Briefing, Case, brief
from runner.chapters import HardSample, Intervention, Proof, Recovery, Story


def healed(*, helped: bool | None = True) -> Intervention:
    proof = None if helped is None else Proof(helped=helped, seconds_lost=1.5)
    recovery = Recovery(mechanism="in_place", steps_lost=11, seconds=0.014)
    return Intervention(cause="nonfinite", action="rollback", recovery=recovery, proof=proof)


def told(state: str, *acts: Intervention, story: Story | None = None, crash: str = "") -> Briefing:
    return brief(
        Case(
            run_id="r",
            job="vesuvius",
            state=state,
            outcome=f"The run {state} at step 9: loss fell; limit is x=1; try y.",
            story=story or Story(interventions=acts),
            sentences=[f"Sentence {act.cause}." for act in acts],
            step=9,
            crash=crash,
        )
    )


def answer(briefing: Briefing, question: str) -> str:
    return " ".join(
        a for part in briefing.answers if part.question == question for a in part.sentences
    )


def test_a_calm_run_asks_for_nothing() -> None:
    calm = told("finished")
    assert calm.tone == "calm"
    assert answer(calm, "What to do now") == "Nothing."
    assert "Nothing unusual" in answer(calm, "What happened")


def test_a_healed_run_says_what_it_cost() -> None:
    found = told("finished", healed())
    assert found.tone == "healed"
    assert answer(found, "Did it help") == "1 of 1 intervention helped. It cost 11 steps and 1.5 s."


def test_a_halt_names_the_advice_and_the_checkpoint_once() -> None:
    halt = Intervention(
        cause="plateau",
        action="halt",
        reason="loss fell by 1%; limit is a.b=1; look at the data; the best trusted checkpoint is "
        "that of step 500",
    )
    found = told("halted", halt)
    assert found.tone == "bad"
    now = answer(found, "What to do now")
    assert now.startswith("Look at the data. The best trusted checkpoint is that of step 500.")
    assert "make submit JOB=vesuvius" in now
    assert answer(found, "What happened").startswith("The run halted at step 9: loss fell.")


def test_a_failure_shows_its_error_and_how_to_go_on() -> None:
    now = answer(told("failed", crash="OSError: disk full"), "What to do now")
    assert "OSError: disk full" in now
    assert "make resume RUN=r" in now


def test_an_act_that_did_not_help_is_not_called_healed() -> None:
    found = told("finished", healed(), healed(helped=False))
    assert found.tone == "open"
    assert "1 of 2 interventions helped, 1 did not" in answer(found, "Did it help")
    assert "not healed" in answer(found, "What to do now")


def test_an_act_without_a_proof_is_not_counted_as_help() -> None:
    found = told("unfinished", healed(helped=None))
    assert found.tone == "open"
    assert answer(found, "Did it help") == "1 is not proven yet."
    assert "make watch RUN=r" in answer(found, "What to do now")


def test_the_samples_to_look_at_are_named() -> None:
    bad = HardSample(index=42, epochs=0, worst_excess=None, has_rolled_back=True)
    story = Story(interventions=(healed(),), hard_samples=(bad,))
    assert "42" in answer(told("finished", story=story), "What to do now")


def test_the_same_sentence_over_and_over_is_told_once() -> None:
    crash = Intervention(cause="crash", action="restart")
    found = answer(told("failed", *[crash] * 9), "What was done")
    assert found == "Sentence crash. (9 times)"
