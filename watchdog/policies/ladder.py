"""The ladder: roll back and lower the rate; restart what died; halt when that did not help.

Each rung is tried only while the budget of its cause lasts. The same cause without progress since
the last time goes deeper: an older checkpoint, again a lower rate, and the second time also without
the optimizer's momentum. Lowering ends at a floor. A run that is stuck may have several rates tried
instead of one lowered.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from pydantic import Field, field_validator

from watchdog.budget import BudgetConfig
from watchdog.diagnosis import Diagnosis
from watchdog.history import History
from watchdog.policies.probe import trial_scales
from watchdog.records import HARMLESS_CAUSES, NUMERIC_CAUSES, STUCK_CAUSES, Action, Cause, Verdict
from watchdog.settings import Config as BaseConfig

#: Chosen: as many sample numbers make an order of some 16 kB, which every living rank is sent with
#: each exchange until it is obeyed; three steps of ten thousand ranks would be 240,000.
_MAX_NAMED_SAMPLES = 4096


class Config(BaseConfig):
    """How far to go, and how often."""

    lr_factor: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Each rollback multiplies the learning rate by this; half is common practice.",
    )
    min_lr: float = Field(
        1e-7, ge=0, description="The watchdog never lowers the learning rate under this."
    )
    rewarmup_steps: int = Field(
        10, ge=0, description="Steps over which the lowered rate is reached after a rollback."
    )
    micro_batch_factor: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="After running out of memory, the next attempt holds this share of the samples "
        "at a time and accumulates their gradients: the step and its loss stay the same.",
    )
    reset_momentum: bool = Field(
        True,
        description="Whether the second repeat of the same cause without progress also has the "
        "optimizer forget its momentum: what it gathered may be what is broken.",
    )
    lr: Literal["reduce", "probe"] = Field(
        "reduce",
        description="What to do about a run that is stuck. reduce: lower the rate. probe: try "
        "several rates, up and down, from one checkpoint, and go on with the best.",
    )
    probe_multipliers: tuple[float, ...] = Field(
        (0.25, 0.5, 1.0, 2.0, 4.0, 10.0),
        strict=False,  # a list, as YAML has it, is taken for a tuple
        min_length=2,
        max_length=32,
        description="Rates to try, as multiples of the present one; 1 is what the others have to "
        "beat.",
    )
    probe_steps: int = Field(
        60,
        ge=12,
        le=65536,
        description="Steps of each trial. The first third, where the rate is still being reached, "
        "is not compared, so it should not be shorter than rewarmup_steps.",
    )
    lift_after_steps: int | None = Field(
        200,
        ge=1,
        description="Healthy steps after which a lowered rate is doubled, up to the job's own; "
        "after a lift that was followed by an incident it takes four times as many. A rate that "
        "was lowered for a run that was stuck stays: it is the cure. null: never.",
    )
    lift_after_ratio: float = Field(
        0.05,
        gt=0,
        le=1,
        description="In a short run the wait is this share of its steps, where that is less than "
        "lift_after_steps, yet twice rewarmup_steps at least: 200 steps at half the rate cost a "
        "run of 600 more of its metric than the accident did.",
    )
    budgets: BudgetConfig = BudgetConfig()

    @field_validator("probe_multipliers")
    @classmethod
    def _multipliers_can_be_compared(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if 1.0 not in value or min(value) <= 0 or len(set(value)) < len(value):
            raise ValueError(
                f"probe_multipliers={list(value)} must be positive, each there once, and 1 among "
                "them: the other rates are compared with the present one"
            )
        return value


def decide(diagnosis: Diagnosis, history: History, config: Config) -> Verdict:
    """Return what to do about an incident; asked twice, the answer is the same."""
    halt_reason = _why_halt(diagnosis, history, config)
    if halt_reason is not None:
        return _verdict(Action.HALT, halt_reason, diagnosis, history, config)
    is_restart = diagnosis.is_attempt_over or diagnosis.cause is Cause.STALL
    action = Action.RESTART if is_restart else Action.ROLLBACK
    reason = f"{diagnosis.summary}; {_what_follows(action, diagnosis, history, config)}"
    return _verdict(action, reason, diagnosis, history, config)


def is_charged(cause: Cause, history: History) -> bool:
    """Whether acting costs budget: losing a node is nobody's fault, unless nothing ever works."""
    return cause is not Cause.NODE_LOST or not history.has_progress


def as_observed(verdict: Verdict, lr_scale: float) -> Verdict:
    """Return what is said of a verdict by a watchdog that may not act; `lr_scale` is in force."""
    return dataclasses.replace(
        verdict,
        action=Action.CONTINUE,
        advised=verdict.action,
        lr_scale=lr_scale,
        reason=f"would {verdict.action.value}, but mode is observe: {verdict.reason}",
    )


def is_probing(diagnosis: Diagnosis, history: History, config: Config) -> bool:
    """Whether several rates are tried: the run is stuck, alive, and has steps left for a trial."""
    has_room = history.max_steps is None or (history.max_steps - history.step >= config.probe_steps)
    is_stuck = diagnosis.cause in STUCK_CAUSES and not diagnosis.is_attempt_over
    return config.lr == "probe" and is_stuck and has_room


def lift_wait(max_steps: int | None, config: Config) -> int | None:
    """Return after how many healthy steps a lowered rate is lifted; None: never."""
    if config.lift_after_steps is None or max_steps is None:
        return config.lift_after_steps
    in_short_run = math.ceil(config.lift_after_ratio * max_steps)
    return min(config.lift_after_steps, max(in_short_run, 2 * config.rewarmup_steps))


def probed_scales(history: History, config: Config) -> tuple[float, ...]:
    """Return the multipliers on the job's rate that a probe tries, in turn."""
    return trial_scales(
        history.lr_scale,
        config.probe_multipliers,
        max_lr=history.max_lr,
        min_lr=config.min_lr,
    )


def _why_halt(diagnosis: Diagnosis, history: History, config: Config) -> str | None:
    cause = diagnosis.cause
    limit, spent = config.budgets.limit(cause), history.spent.get(cause, 0)
    if is_charged(cause, history) and limit == 0:
        return (
            f"{diagnosis.summary}; nothing may be tried against {cause}, limit is "
            f"policy.budgets.{cause}=0; {_advice(cause)}; {_best(diagnosis, history)}"
        )
    if is_charged(cause, history) and spent >= limit:
        return (
            f"{diagnosis.summary}; {_counted(spent)} against {cause} did not help for long "
            f"(counted over policy.budgets.period_steps={config.budgets.period_steps}), limit is "
            f"policy.budgets.{cause}={limit}; {_advice(cause)}; {_best(diagnosis, history)}"
        )
    if cause in NUMERIC_CAUSES and history.max_lr is not None and diagnosis.pending is None:
        rate = history.lr_scale * history.max_lr
        if rate <= config.min_lr * (1 + 1e-9):  # a product of decimals is seldom exact
            return (
                f"{diagnosis.summary}; the learning rate {rate:.3g} is at its floor, limit is "
                f"policy.min_lr={config.min_lr:g}; {_advice(cause)}; {_best(diagnosis, history)}"
            )
    return None


def _counted(interventions: int) -> str:
    return f"{interventions} intervention{'' if interventions == 1 else 's'}"


def _advice(cause: Cause) -> str:
    return {
        Cause.NONFINITE: "look for bad samples, overflow in the loss, or too high a train.lr",
        Cause.SPIKE: "try a lower train.lr, a longer train.warmup_steps or a lower train.clip_norm",
        Cause.DIVERGENCE: "try a lower train.lr; look for data that changes, and at the loss",
        Cause.DEAD_LOSS: "look for zero gradients: dead units, a detached graph, fp16 underflow",
        Cause.LR_UNDERFLOW: "the schedule has ended: give it a floor, or stop the run here",
        Cause.TRIVIAL: "the model predicts a constant: look at labels, at inputs and their scale, "
        "and whether input and target belong together (make preflight)",
        Cause.SKIPPED_BATCHES: "look for overflow: loss scale, bad samples, too high a train.lr",
        Cause.PLATEAU: "the rate is not what holds it back: look at the model, the data, the loss",
        Cause.STALL: "see where each rank was in the run's folder stacks/",
        Cause.CRASH: "the error repeats: see the log of the failed rank",
        Cause.OUT_OF_MEMORY: "try a smaller model, smaller samples or lower precision",
        Cause.NODE_LOST: "no node stays up long enough: see the cluster's events",
    }.get(cause, "nothing is done against it")


def _best(diagnosis: Diagnosis, history: History) -> str:
    is_harmless = diagnosis.cause in HARMLESS_CAUSES
    older = [s for s in history.durable_steps if is_harmless or s < diagnosis.onset_step]
    if older:
        return f"the best trusted checkpoint is that of step {older[-1]}"
    return "no trusted durable checkpoint exists"


def _what_follows(action: Action, diagnosis: Diagnosis, history: History, config: Config) -> str:
    if diagnosis.cause is Cause.OUT_OF_MEMORY:
        scale = _micro_batch_scale(diagnosis, history, config)
        return f"restarting with micro-batch x {scale:g}, its gradients accumulated"
    if diagnosis.cause not in NUMERIC_CAUSES:
        return "restarting from the newest checkpoint that is not distrusted"
    how = "rolling back" if action is Action.ROLLBACK else "restarting"
    onset = _restore_before(diagnosis, history)
    deeper = ", deeper than last time" if onset < diagnosis.onset_step else ""
    if is_probing(diagnosis, history, config):
        scales = ", ".join(f"{scale:g}" for scale in probed_scales(history, config))
        return f"{how} to before step {onset}{deeper} to try learning rates x {scales} in turn"
    scale = _lr_scale(diagnosis, history, config)
    momentum = ", momentum reset" if _resets_momentum(diagnosis, history, config) else ""
    return f"{how} to before step {onset}{deeper}, learning rate x {scale:g}{momentum}"


def _restore_before(diagnosis: Diagnosis, history: History) -> int:
    """Return the step before which to restore: deeper, if last time's checkpoint did not help.

    A run that was only stuck is not damaged: its best checkpoint is no worse than an older one, and
    where that is gone the newest will do.
    """
    last, onset = history.last_restored_step, diagnosis.onset_step
    if diagnosis.cause in HARMLESS_CAUSES:
        has_best = any(step < onset for step in history.trusted_steps)
        return onset if has_best else max(onset, history.step + 1)
    if not history.repeats or last is None or last >= diagnosis.onset_step:
        return diagnosis.onset_step
    has_older = any(step < last for step in history.trusted_steps)
    return last if has_older else diagnosis.onset_step


def _lr_scale(diagnosis: Diagnosis, history: History, config: Config) -> float:
    if diagnosis.pending is not None:
        return diagnosis.pending.lr_scale
    if is_probing(diagnosis, history, config):
        return probed_scales(history, config)[0]
    if diagnosis.cause in NUMERIC_CAUSES:
        # A reduction that was undone because it did not help is not tried a second time.
        return history.lr_scale * config.lr_factor ** (1 + history.undone)
    return history.lr_scale


def _micro_batch_scale(diagnosis: Diagnosis, history: History, config: Config) -> float:
    is_meant = diagnosis.cause is Cause.OUT_OF_MEMORY
    return history.micro_batch_scale * (config.micro_batch_factor if is_meant else 1.0)


def _resets_momentum(diagnosis: Diagnosis, history: History, config: Config) -> bool:
    if diagnosis.pending is not None:
        return diagnosis.pending.reset_momentum
    is_meant = diagnosis.cause in NUMERIC_CAUSES and not is_probing(diagnosis, history, config)
    return config.reset_momentum and is_meant and history.repeats >= 2


def _trusted_steps(diagnosis: Diagnosis, history: History, config: Config) -> tuple[int, ...]:
    """Return what may be restored: for a probe what is also on storage, as it is needed for long.

    Memory checkpoints are overwritten while a trial runs.
    """
    onset = _restore_before(diagnosis, history)
    has_durable = any(step < onset for step in history.durable_steps)
    if is_probing(diagnosis, history, config) and has_durable:
        return history.durable_steps
    return history.trusted_steps


def _skip_samples(action: Action, diagnosis: Diagnosis, history: History) -> tuple[int, ...]:
    """Return what the replay must leave out: a new attempt has to be told everything again.

    The living ranks are all sent this verdict until it is done. They know their newest batches, and
    leave out the whole of one that is named by any of its samples.
    """
    if action is Action.ROLLBACK:
        is_short = len(history.bad_samples) <= _MAX_NAMED_SAMPLES
        return history.bad_samples if is_short else history.bad_batches
    pending = diagnosis.pending.skip_samples if diagnosis.pending is not None else ()
    return tuple(sorted({*history.skip_samples, *history.bad_samples, *pending}))


def _verdict(
    action: Action, reason: str, diagnosis: Diagnosis, history: History, config: Config
) -> Verdict:
    is_acting = action is not Action.HALT
    return Verdict(
        verdict_id=history.verdict_id,
        t_s=history.t_s,
        attempt=history.attempt,
        generation=history.generation,
        step=history.step,
        cause=diagnosis.cause,
        action=action,
        reason=reason,
        onset_step=_restore_before(diagnosis, history) if is_acting else diagnosis.onset_step,
        lr_scale=_lr_scale(diagnosis, history, config) if is_acting else history.lr_scale,
        min_lr=config.min_lr,
        rewarmup_steps=config.rewarmup_steps,
        skip_samples=_skip_samples(action, diagnosis, history) if is_acting else (),
        trusted_steps=_trusted_steps(diagnosis, history, config),
        incident=history.incident,
        reset_momentum=is_acting and _resets_momentum(diagnosis, history, config),
        rank=diagnosis.rank,
        micro_batch_scale=(
            _micro_batch_scale(diagnosis, history, config)
            if is_acting
            else history.micro_batch_scale
        ),
    )
