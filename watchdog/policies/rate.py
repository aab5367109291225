"""Changes of the learning rate that cost no step: lifting it again, and taking a reduction back.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from watchdog.history import History
from watchdog.policies.ladder import Config
from watchdog.records import Action, Cause, Verdict


def lift(
    scale: float, cause: Cause, healthy_steps: int, history: History, config: Config
) -> Verdict:
    """Return the order to raise the multiplier to `scale` after so many healthy steps.

    `cause` is what it was lowered for.
    """
    reason = (
        f"no incident for {healthy_steps} steps; learning rate lifted from "
        f"x {history.lr_scale:g} to x {scale:g}, limits are "
        f"policy.lift_after_steps={config.lift_after_steps} and "
        f"policy.lift_after_ratio={config.lift_after_ratio:g}"
    )
    return _verdict(scale, cause, reason, history, config)


def undo(scale: float, cause: Cause, history: History, config: Config) -> Verdict:
    """Return the order to put back the multiplier that was in force before it was of no help."""
    reason = (
        f"learning rate x {history.lr_scale:g} did not help against {cause.value}; back to "
        f"x {scale:g}"
    )
    return _verdict(scale, cause, reason, history, config)


def _verdict(scale: float, cause: Cause, reason: str, history: History, config: Config) -> Verdict:
    is_rise = scale > history.lr_scale
    return Verdict(
        verdict_id=history.verdict_id,
        t_s=history.t_s,
        attempt=history.attempt,
        generation=history.generation,
        step=history.step,
        cause=cause,
        action=Action.CONTINUE,
        reason=reason,
        onset_step=history.step + 1,
        lr_scale=scale,
        min_lr=config.min_lr,
        rewarmup_steps=config.rewarmup_steps if is_rise else 0,
        incident=history.incident,
    )
