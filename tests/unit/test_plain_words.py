"""Sentences for a person who was not there."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from runner import plain_words
from runner.chapters import Intervention, Recovery
from runner.plain_words import LearningRates, headline
from watchdog.records import Cause

ROLLBACK = Intervention(
    step=42,
    onset_step=40,
    cause="nonfinite",
    action="rollback",
    lr_scale=0.5,
    recovery=Recovery(
        mechanism="in_place", restored_step=32, seconds=0.041, steps_lost=10, skipped_samples=24
    ),
)


def test_a_rollback_is_told_whole() -> None:
    assert headline(ROLLBACK, LearningRates(0.002, 0.001), 8) == (
        "At step 40 the gradients became NaN or infinite. Rolled back to step 32 in 41 ms; "
        "learning rate 0.002 \N{RIGHTWARDS ARROW} 0.001; 3 batches skipped; training went on."
    )


def test_without_the_rate_its_factor_is_told() -> None:
    assert "learning rate times 0.5;" in headline(ROLLBACK, LearningRates(), 8)


def test_samples_that_are_no_whole_batches_are_told_as_samples() -> None:
    assert "24 samples skipped" in headline(ROLLBACK, LearningRates(), 7)
    assert "24 samples skipped" in headline(ROLLBACK, LearningRates(), None)


def test_an_unchanged_rate_is_not_mentioned() -> None:
    item = Intervention(
        onset_step=101,
        cause="crash",
        action="restart",
        lr_scale=0.5,
        lr_scale_before=0.5,
        recovery=Recovery(mechanism="restart", restored_step=96, seconds=4.2),
    )
    assert headline(item, LearningRates(0.1, 0.1), 8) == (
        "At step 101 a worker failed. Restarted from step 96 in 4.2 s; training went on."
    )


def test_a_restart_without_a_checkpoint_begins_from_scratch() -> None:
    recovery = Recovery(mechanism="restart", restored_step=0)
    item = Intervention(onset_step=3, cause="node_lost", action="restart", recovery=recovery)
    told = headline(item, LearningRates(), None)
    assert told == "At step 3 a node was lost. Restarted from scratch; training went on."


def test_a_halt_does_not_say_that_training_went_on() -> None:
    item = Intervention(onset_step=7, cause="plateau", action="halt")
    told = headline(item, LearningRates(), None)
    assert told == "At step 7 the loss stopped improving. The watchdog stopped the run."


def test_a_recovery_that_is_not_in_the_ledger_is_not_claimed() -> None:
    item = Intervention(onset_step=7, cause="spike", action="rollback")
    told = headline(item, LearningRates(), None)
    assert "ordered and is not in the ledger as done" in told
    assert "went on" not in told


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0414, "41 ms"),
        (2.5, "2.5 s"),
        (185.2, "3 min 5 s"),
        (7440.0, "2 h 4 min"),
        (None, "unknown"),
        (math.nan, "unknown"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float | None, words: str) -> None:
    assert plain_words.duration(seconds) == words


@pytest.mark.parametrize(
    ("value_bytes", "words"),
    [(12, "12 B"), (12_345_678, "12.3 MB"), (5 * 10**15, "5000.0 TB"), (None, "unknown")],
)
def test_sizes_are_decimal(value_bytes: int | None, words: str) -> None:
    assert plain_words.size(value_bytes) == words


def test_clock_is_utc() -> None:
    assert plain_words.clock(1_700_000_000.0) == "2023-11-14 22:13:20 UTC"
    assert plain_words.clock(None) == "unknown"
    assert plain_words.clock(1e300) == "unknown"


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_has_words_of_its_own(cause: Cause) -> None:
    told = headline(replace(ROLLBACK, cause=cause.value), LearningRates(), None)
    assert told.startswith("At step 40 ")
    assert "an incident of cause" not in told


def test_no_two_causes_have_the_same_words() -> None:
    told = {
        headline(replace(ROLLBACK, cause=cause.value), LearningRates(), None) for cause in Cause
    }
    assert len(told) == len(Cause)


def test_a_cause_of_another_version_is_named() -> None:
    told = headline(replace(ROLLBACK, cause="gremlins"), LearningRates(), None)
    assert "an incident of cause gremlins was opened" in told


def test_plurals() -> None:
    assert plain_words.plural(1, "step") == "1 step"
    assert plain_words.plural(2000, "batch") == "2,000 batches"


def test_metrics_are_one_line_and_a_family_of_them_is_told_lowest_first() -> None:
    assert plain_words.metric_sentences({}) == []
    assert plain_words.metric_sentences({"val_loss": 0.25, "dice": 1 / 3}) == [
        "val_loss 0.25, dice 0.3333"
    ]
    few = {"f1/shoes": 0.5, "macro_f1": 0.3, "f1/tea_bags": 0.1}
    assert plain_words.metric_sentences(few) == [
        "macro_f1 0.3",
        "f1, lowest first: tea_bags 0.1, shoes 0.5",
    ]
    many = {f"f1/{name}": place / 10 for place, name in enumerate("abcdefgh")}
    assert plain_words.metric_sentences(many) == [
        "f1, lowest first: a 0, b 0.1, c 0.2, ... 2 more in result.json ..., f 0.5, g 0.6, h 0.7"
    ]
