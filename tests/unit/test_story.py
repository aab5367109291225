"""What the ledger's lines come to when they are put together."""

from __future__ import annotations

from typing import Any

import pytest

from runner.chapters import Recovery
from runner.story import tell
from tests.unit import sample_run
from watchdog.records import LedgerKind


def line(kind: str, **data: Any) -> dict[str, Any]:
    return {"t_s": 1.0, "kind": kind, "attempt": 0, "step": 5, **data}


def verdict(number: int, **data: Any) -> dict[str, Any]:
    return line("verdict", verdict_id=number, cause="spike", action="rollback", **data)


def test_an_empty_ledger_is_an_empty_story() -> None:
    story = tell([])
    assert story.interventions == ()
    assert story.state == ""


def test_verdict_recovery_proof_and_end_become_one_intervention() -> None:
    rollback, restart = tell(sample_run.ledger()).interventions
    assert rollback.onset_step == 40
    assert rollback.lr_scale == 0.5
    assert rollback.recovery == Recovery(
        mechanism="in_place",
        storage="memory",
        restored_step=32,
        seconds=0.041,
        steps_lost=10,
        skipped_samples=24,
    )
    assert rollback.proof is not None
    assert rollback.proof.helped is True
    assert rollback.closed_step == 72
    assert restart.recovery is not None
    assert restart.recovery.restored_step == 96
    assert restart.proof is None


def test_the_rate_before_a_verdict_is_the_one_of_the_verdict_before() -> None:
    story = tell([verdict(1, lr_scale=0.5), verdict(2), verdict(3, lr_scale=0.25)])
    assert [i.lr_scale_before for i in story.interventions] == [1.0, 0.5, 0.5]


def test_a_verdict_that_orders_nothing_is_no_intervention() -> None:
    assert tell([verdict(1) | {"action": "continue"}]).interventions == ()


def test_a_line_without_a_name_is_about_the_newest_open_intervention() -> None:
    story = tell([verdict(1), verdict(2), line("recovery_done", restored_step=3)])
    assert [i.recovery is not None for i in story.interventions] == [False, True]


def test_a_line_about_an_unknown_verdict_is_passed_over() -> None:
    story = tell([verdict(1), line("proof", verdict_id=9, sentence="no")])
    assert story.interventions[0].proof is None


def test_a_resumed_run_has_no_end() -> None:
    ended = [line("run_started"), line("run_ended", state="stopped", reason="asked")]
    assert tell(ended).state == "stopped"
    assert tell([*ended, line("run_started")]).state == ""


def test_the_last_word_on_a_checkpoint_is_its_trust() -> None:
    story = tell(
        [
            line("checkpoint_saved", storage="memory"),
            line("checkpoint_saved", storage="durable"),
            line("checkpoint_trusted"),
            line("checkpoint_quarantined", storage="durable", error="checksum"),
        ]
    )
    trust = {c.storage: (c.trust, c.note) for c in story.checkpoints}
    assert trust == {"memory": ("trusted", ""), "durable": ("quarantined", "checksum")}


def test_a_judged_memory_checkpoint_is_known_without_its_saving() -> None:
    (found,) = tell([line("checkpoint_trusted", storage="memory")]).checkpoints
    assert (found.step, found.storage, found.trust, found.t_s) == (5, "memory", "trusted", None)


def test_attempts_carry_their_end() -> None:
    first, second = tell(sample_run.ledger()).attempts
    assert (first.from_step, first.end_step, first.outcome) == (0, 100, "worker_died")
    assert (second.from_step, second.end_step, second.outcome) == (96, 160, "finished")


@pytest.mark.parametrize("kind", [*LedgerKind, "a kind of a later version"])
@pytest.mark.parametrize(
    "odd", [None, "x", [1], {"a": 1}, True, 10**400, float("nan")], ids=lambda v: str(v)[:8]
)
def test_a_line_with_fields_of_other_types_never_raises(kind: str, odd: Any) -> None:
    names = "step attempt t_s cause action reason verdict_id incident lr_scale onset_step storage "
    names += "seconds error outcome helped restored_step skipped_samples state size_bytes"
    story = tell([verdict(1), {"kind": str(kind)} | dict.fromkeys(names.split(), odd)])
    assert story.interventions[0].verdict_id == 1


def test_a_kind_that_is_not_a_text_is_passed_over() -> None:
    assert tell([{"kind": ["verdict"]}, {}]).interventions == ()


def test_a_memory_checkpoint_that_a_verdict_trusted_and_that_was_restored_is_trusted() -> None:
    done = line("recovery_done", verdict_id=1, restored_step=32, **{"from": "memory"})
    (checkpoint,) = tell([verdict(1, trusted_steps=[24, 32, "odd"]), done]).checkpoints
    assert (checkpoint.step, checkpoint.storage, checkpoint.trust) == (32, "memory", "trusted")


def test_samples_that_an_earlier_recovery_skipped_are_not_counted_again() -> None:
    story = tell(
        [
            verdict(1),
            line("recovery_done", verdict_id=1, skipped_samples=[1, 2]),
            verdict(2),
            line("recovery_done", verdict_id=2, skipped_samples=[1, 2, 3]),
        ]
    )
    skipped = [i.recovery.skipped_samples for i in story.interventions if i.recovery]
    assert skipped == [2, 1]
