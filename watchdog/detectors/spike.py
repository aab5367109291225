"""A loss that left its forecast band and does not come back.

Size does not decide: a real 176-billion-parameter run went from 2.20 to 5.10 and was back in
thirty steps, another rose by 3 % and never recovered. So leaving the band is a suspicion only; it
freezes the baseline, and the loss has `patience_steps` to come back. One that is plainly on its way
back gets as many again. Must not fire on a spike that heals, on single hard batches, on a falling
or merely noisy loss.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from pydantic import Field

from watchdog.baseline import Baseline, median
from watchdog.findings import Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals


class Config(DetectorConfig):
    """Distances are in robust standard deviations of the (log) loss about its trend."""

    suspect_sigmas: float = Field(
        8.0, gt=0, description="One loss this far above the forecast is a suspicion."
    )
    band_sigmas: float = Field(
        3.0,
        gt=0,
        description="Half width of the forecast band: where a loss counts as recovered, and what "
        "the newest loss and the median of shift_steps losses must exceed to be a suspicion.",
    )
    shift_steps: int = Field(
        8, ge=3, le=64, description="Newest losses whose median is compared with the band."
    )
    patience_steps: int = Field(
        32, ge=4, le=1024, description="Steps from the onset that a loss has to come back."
    )
    recover_steps: int = Field(
        5, ge=1, le=64, description="Newest losses whose median must be in the band again."
    )
    healing_ratio: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="A loss whose distance to the forecast fell below this share in half its "
        "patience is on its way back and is given the same patience once more.",
    )
    min_history_steps: int = Field(
        16, ge=4, le=1024, description="Healthy losses needed before anything is judged."
    )
    max_skipped_steps: int = Field(
        4, ge=0, le=64, description="Steps from the onset whose samples a replay leaves out."
    )


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the suspicion or the incident; None while in the band, or back in it."""
    baseline = signals.baseline
    if baseline is None or baseline.steps < config.min_history_steps:
        return None
    if signals.excursion is None:
        return _suspect(signals, baseline, config)
    return _follow(tuple(signals.excursion), baseline, config)


def _suspect(signals: Signals, baseline: Baseline, config: Config) -> Finding | None:
    if not signals.gap or signals.latest is None or signals.latest.step != signals.gap[-1][0]:
        return None
    step, loss = signals.gap[-1]
    newest = baseline.excess(loss, step)
    if newest >= config.suspect_sigmas:
        return _finding(Level.SUSPECT, step, (step, loss), baseline, config.suspect_sigmas, config)
    if newest < config.band_sigmas:
        return None
    shift = list(signals.gap)[-config.shift_steps :]
    if len(shift) < config.shift_steps:
        return None
    excesses = [baseline.excess(value, at) for at, value in shift]
    if median(excesses) < config.band_sigmas:
        return None
    onset = next(at for (at, _), e in zip(shift, excesses, strict=True) if e >= config.band_sigmas)
    typical = (step, median([value for _, value in shift]))
    return _finding(Level.SUSPECT, onset, typical, baseline, config.band_sigmas, config)


def _follow(
    losses: tuple[tuple[int, float], ...], baseline: Baseline, config: Config
) -> Finding | None:
    """Judge the losses since the onset; `losses` is never empty while something is suspected."""
    excesses = [baseline.excess(loss, step) for step, loss in losses]
    recent = median(excesses[-config.recover_steps :])
    if len(losses) >= config.recover_steps and recent < config.band_sigmas:
        return None
    is_spent = len(losses) >= config.patience_steps
    if is_spent and _is_healing(excesses, config) and len(losses) < 2 * config.patience_steps:
        is_spent = False
    level = Level.INCIDENT if is_spent else Level.SUSPECT
    typical = (losses[-1][0], median([loss for _, loss in losses[-config.recover_steps :]]))
    return _finding(level, losses[0][0], typical, baseline, config.band_sigmas, config)


def _is_healing(excesses: list[float], config: Config) -> bool:
    """Whether the distance to the forecast has shrunk enough over the last half of the patience."""
    half = config.patience_steps // 2
    now = median(excesses[-config.recover_steps :])
    before = median(excesses[-half - config.recover_steps : -half] or excesses[:1])
    return now <= config.healing_ratio * before


def _finding(
    level: Level,
    onset_step: int,
    point: tuple[int, float],
    baseline: Baseline,
    sigmas: float,
    config: Config,
) -> Finding:
    step, loss = point
    limit = baseline.threshold(sigmas, step)
    if level is Level.SUSPECT:
        summary = (
            f"loss {loss:.4g} at step {step} is above {limit:.4g} ({sigmas:g} robust standard "
            f"deviations over its trend), from step {onset_step} on"
        )
    else:
        summary = (
            f"loss {loss:.4g} at step {step} has not come back under {limit:.4g} since step "
            f"{onset_step}; likely a destabilising update, patience is "
            f"detectors.spike.patience_steps={config.patience_steps}"
        )
    return Finding(
        cause=Cause.SPIKE,
        level=level,
        onset_step=onset_step,
        value=loss,
        threshold=limit,
        summary=summary,
        bad_steps=tuple(range(onset_step, onset_step + config.max_skipped_steps)),
    )
