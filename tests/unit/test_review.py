"""Every rule of the configuration review speaks of its mistake and is silent otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from runner.job_facts import LossTerm
from runner.review import RULES, Settings, review
from runner.spec import CheckpointConfig, Config, RunSpec, TrainConfig
from runner.spec_reader import known_jobs, read_spec


class Terms(Config):
    """Settings of a job with a loss and a split."""

    terms: tuple[LossTerm, ...] = ()
    val_share: float = 0.2
    patience: int = 3

    def loss_formula(self) -> tuple[LossTerm, ...]:
        return self.terms


def said(
    task: Config | None = None, *, size: int | None = None, kept: Any = None, **train: Any
) -> dict[str, str]:
    """Return the remarks on sound settings with these changes, by rule."""
    sound = {
        "max_steps": 1000,
        "batch_size": 8,
        "lr": 1e-3,
        "min_lr": 1e-5,
        "warmup_steps": 50,
        "eval_every_steps": 100,
    }
    spec = RunSpec(
        name="terms",
        train=TrainConfig(**(sound | train)),
        checkpoints=CheckpointConfig(**(kept or {})),
    )
    remarks = review(Settings(spec, task or Terms(), size))
    assert all(remark.suggestion and remark.source for remark in remarks)
    return {remark.rule: f"{remark.text} -> {remark.suggestion}" for remark in remarks}


def test_sound_settings_have_no_remark() -> None:
    assert said(size=800) == {}


def test_the_default_of_every_job_is_sound_or_said_to_be_not() -> None:
    rules = {rule.name for rule in RULES}
    for name in known_jobs():
        resolved = read_spec(name)
        found = review(Settings(resolved.spec, resolved.task_config))
        assert {remark.rule for remark in found} <= rules


@pytest.mark.parametrize(
    ("train", "rule", "text"),
    [
        ({"lr": 0.1}, "rate", "train.lr=0.1 is high"),
        ({"lr": 1e-7, "min_lr": 0.0}, "rate", "is low"),
        ({"warmup_steps": 0}, "warm-up", "train.warmup_steps=50"),
        ({"warmup_steps": 900}, "warm-up", "more than half"),
        ({"min_lr": 0.1}, "floor above the peak", "above train.lr"),
        ({"weight_decay": 50.0}, "weight decay", "shrinks a weight"),
        ({"clip_norm": None}, "clipping", "train.clip_norm=1.0"),
        ({"eval_every_steps": 900}, "validations", "2 validations"),
        ({"max_steps": 150, "eval_every_steps": 10}, "checkpoints", "every 100 of 150 steps"),
        ({"precision": "fp16"}, "half precision", "65,504"),
    ],
)
def test_a_mistake_of_the_loop_is_named(train: dict[str, Any], rule: str, text: str) -> None:
    remarks = said(**train)
    assert text in remarks[rule]


def test_a_schedule_that_decays_to_nothing_is_named_with_its_last_rate() -> None:
    remarks = said(schedule="halving", half_life_steps=20, min_lr=0.0)
    assert "too small to change a weight" in remarks["schedule without a floor"]
    assert "5.02e-18 at the end" in remarks["schedule without a floor"]
    assert "schedule without a floor" not in said(min_lr=0.0)


def test_terms_are_judged_by_slope_bound_and_weight() -> None:
    mse = LossTerm("mse", 0.8)
    steep = Terms(terms=(mse, LossTerm("variance", 0.1, 100.0, formula="exp(-100 var)")))
    assert "slope up to 100, 10 after its weight 0.1" in said(steep)["steep term"]
    unbounded = Terms(terms=(mse, LossTerm("log", 0.1, None, is_bounded=False)))
    assert "log" in said(unbounded)["unbounded term"]
    assert "idle term" in said(Terms(terms=(mse, LossTerm("edge", 0.00001))))
    assert "idle term" not in said(Terms(terms=(mse, LossTerm("edge", 0.0))))
    assert "many terms" in said(Terms(terms=tuple(LossTerm(str(i), 1.0) for i in range(6))))


def test_validation_and_patience_are_judged_by_their_names() -> None:
    assert "noisy" in said(Terms(val_share=0.05))["validation share"]
    assert "costly" in said(Terms(val_share=0.5))["validation share"]
    assert "10 validations" in said(Terms(patience=10))["patience"]
    assert "patience" not in said(Terms(patience=9))


def test_the_patience_of_the_loop_counts_where_it_is_followed() -> None:
    few = {"max_steps": 1000, "eval_every_steps": 300}
    assert "patience" not in said(Terms(patience=1), **few)
    assert (
        "reduce_on_plateau"
        in said(Terms(patience=1), schedule="reduce_on_plateau", **few)["patience"]
    )
    assert "train.early_stopping=10" in said(early_stopping=10)["patience"]
    assert "patience" not in said(early_stopping=9)


def test_sizes_are_compared_where_they_are_known() -> None:
    assert "batch and set" in said(size=4)
    assert "batch and set" not in said(size=8)
    assert "memory checkpoints" in said(kept={"memory_keep": 2, "memory_every_steps": 8})
