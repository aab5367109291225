"""The ladder: roll back and lower the rate; restart what died; halt when that did not help.

Each rung is tried only while the budget of its cause lasts. The same cause without progress since
the last time goes deeper: an older checkpoint, and again a lower rate. Lowering ends at a floor.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from pydantic import Field

from watchdog.budget import BudgetConfig
from watchdog.diagnosis import Diagnosis
from watchdog.history import History
from watchdog.records import NUMERIC_CAUSES, Action, Cause, Verdict
from watchdog.settings import Config as BaseConfig


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
    budgets: BudgetConfig = BudgetConfig()


def decide(diagnosis: Diagnosis, history: History, config: Config) -> Verdict:
    """Return what to do about an incident; asked twice, the answer is the same."""
    halt_reason = _why_halt(diagnosis, history, config)
    if halt_reason is not None:
        return _verdict(Action.HALT, halt_reason, diagnosis, history, config)
    action = Action.RESTART if diagnosis.is_attempt_over else Action.ROLLBACK
    reason = f"{diagnosis.summary}; {_what_follows(action, diagnosis, history, config)}"
    return _verdict(action, reason, diagnosis, history, config)


def is_charged(cause: Cause, history: History) -> bool:
    """Whether acting costs budget: losing a node is nobody's fault, unless nothing ever works."""
    return cause is not Cause.NODE_LOST or not history.has_progress


def _why_halt(diagnosis: Diagnosis, history: History, config: Config) -> str | None:
    cause = diagnosis.cause
    limit, spent = config.budgets.limit(cause), history.spent.get(cause, 0)
    if is_charged(cause, history) and spent >= limit:
        return (
            f"{diagnosis.summary}; {spent} interventions against {cause} did not help for long "
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


def _advice(cause: Cause) -> str:
    return {
        Cause.NONFINITE: "look for bad samples, overflow in the loss, or too high a train.lr",
        Cause.SPIKE: "try a lower train.lr, a longer train.warmup_steps or a lower train.clip_norm",
        Cause.PLATEAU: "the rate is not what holds it back: look at the model, the data, the loss",
        Cause.CRASH: "the error repeats: see the log of the failed rank",
        Cause.NODE_LOST: "no node stays up long enough: see the cluster's events",
    }[cause]


def _best(diagnosis: Diagnosis, history: History) -> str:
    older = [step for step in history.durable_steps if step < diagnosis.onset_step]
    if older:
        return f"the best trusted checkpoint is that of step {older[-1]}"
    return "no trusted durable checkpoint exists"


def _what_follows(action: Action, diagnosis: Diagnosis, history: History, config: Config) -> str:
    if diagnosis.cause not in NUMERIC_CAUSES:
        return "restarting from the newest checkpoint that is not distrusted"
    how = "rolling back" if action is Action.ROLLBACK else "restarting"
    onset = _restore_before(diagnosis, history)
    deeper = ", deeper than last time" if onset < diagnosis.onset_step else ""
    scale = _lr_scale(diagnosis, history, config)
    return f"{how} to before step {onset}{deeper}, learning rate x {scale:g}"


def _restore_before(diagnosis: Diagnosis, history: History) -> int:
    """Return the step before which to restore: deeper, if last time's checkpoint did not help."""
    last = history.last_restored_step
    if not history.is_repeat or last is None or last >= diagnosis.onset_step:
        return diagnosis.onset_step
    has_older = any(step < last for step in history.trusted_steps)
    return last if has_older else diagnosis.onset_step


def _lr_scale(diagnosis: Diagnosis, history: History, config: Config) -> float:
    if diagnosis.pending is not None:
        return diagnosis.pending.lr_scale
    if diagnosis.cause in NUMERIC_CAUSES:
        return history.lr_scale * config.lr_factor
    return history.lr_scale


def _skip_samples(action: Action, diagnosis: Diagnosis, history: History) -> tuple[int, ...]:
    """Return what the replay must leave out: a new attempt has to be told everything again."""
    if action is Action.ROLLBACK:
        return history.bad_samples
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
        trusted_steps=history.trusted_steps,
        incident=history.incident,
    )
