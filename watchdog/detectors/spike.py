"""A loss that left its forecast band and does not come back.

Size does not decide: a real 176-billion-parameter run went from 2.20 to 5.10 and was back in
thirty steps, another rose by 3 % and never recovered. So leaving the band is a suspicion only; it
freezes the baseline, and the loss has `patience_steps` to come back. One that is plainly on its way
back gets more. Must not fire on a spike that heals, on single hard batches, on a falling or merely
noisy loss, or while validation improves.

What is not back is measured on the median of many losses, because single losses have heavy tails,
and against how far such medians stray in this very run while it is healthy: losses that follow each
other are not independent, and no table of sigmas knows how much.

Source of the defaults: in 40 healthy real logs with 223,000 records, the median of 24 losses rose 2
robust standard deviations above its forecast 9 times in all but two of them; those two (running
averages, neighbouring batches alike) wander by 4 to 9, which is what `wander_ratio` is for. In
language models that log every step it strays by 0.6 to 0.9, so 1.3 is far out.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from pydantic import Field

from watchdog.baseline import Baseline, level, median
from watchdog.findings import Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals
from watchdog.validations import is_improving_since

#: The third largest stray is usual: the first two may be a schedule's, or a spike that healed.
_RARE = 3
#: A level this far below its forecast is a run that falls, and says nothing of how it strays.
_FALLING = 2.0
#: Neighbouring losses that are more than an outlier.
_FEW = 3
#: A loss down to this share of its peak, that rises by the same share of that, is a second spike.
_DOWN = 0.5
#: Losses that say where a falling run is now.
_RECENT = 8
#: Losses further than this from their median, in standard deviations, are drawn to its edge.
_LEVEL_WIDTH = 2.0


class Config(DetectorConfig):
    """Distances are in robust standard deviations of the (log) loss about its trend."""

    suspect_sigmas: float = Field(
        8.0, gt=0, description="One loss this far above the forecast is a suspicion."
    )
    band_sigmas: float = Field(
        3.0,
        gt=0,
        description="Half width of the forecast band: what "
        "the newest loss and the median of shift_steps losses must exceed to be a suspicion.",
    )
    shift_steps: int = Field(
        8, ge=3, le=64, description="Newest losses whose median is compared with the band."
    )
    level_sigmas: float = Field(
        1.3,
        gt=0,
        description="Least distance of the median of level_steps losses from the forecast that is "
        "a shift: half of what is raised by two standard deviations shows it in time.",
    )
    level_steps: int = Field(
        24, ge=4, le=64, description="Newest losses whose median is the level of the loss."
    )
    wander_ratio: float = Field(
        1.5,
        ge=1,
        description="How much further than ever while healthy the level must stray to be a shift.",
    )
    young_wander_ratio: float = Field(
        2.0, ge=1, description="The same while fewer than twice min_wander levels are known."
    )
    min_wander: int = Field(
        8, ge=1, le=256, description="Levels known before a run's own wander is believed."
    )
    patience_steps: int = Field(
        30,
        ge=4,
        le=1024,
        description="Steps from the onset that a loss has to come back. Two less than a verdict "
        "may take: the first of a rise may be within the noise.",
    )
    max_patience: int = Field(
        8, ge=1, le=16, description="Patiences that a loss on its way back gets at most."
    )
    negligible_ratio: float = Field(
        0.002,
        ge=0,
        lt=1,
        description="A rise by less than this share of what the loss fell since the run began is "
        "told and never acted on.",
    )
    recover_steps: int = Field(
        5, ge=1, le=64, description="Newest losses whose median must be in the band again."
    )
    back_ratio: float = Field(
        0.75,
        gt=0,
        lt=1,
        description="Share of the distance that is a shift, below which a loss has come back.",
    )
    healing_ratio: float = Field(
        0.7,
        gt=0,
        lt=1,
        description="A loss whose distance to the forecast fell below this share in half its "
        "patience is on its way back and is given more.",
    )
    healed_share: float = Field(
        0.1, gt=0, lt=1, description="So has one that is down to this share of its peak."
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
    return _follow(signals, tuple(signals.excursion), baseline, config)


def _suspect(signals: Signals, baseline: Baseline, config: Config) -> Finding | None:
    if not signals.gap or signals.latest is None or signals.latest.step != signals.gap[-1][0]:
        return None
    step, loss = signals.gap[-1]
    newest = baseline.excess(loss, step)
    if newest < config.suspect_sigmas and baseline.is_falling and len(signals.gap) > 2 * _RECENT:
        baseline = baseline.lowered([x for _, x in list(signals.gap)[:-_RECENT]])
        newest = baseline.excess(loss, step)
    if newest >= config.suspect_sigmas:
        onset = _first_high(signals.gap, baseline, config)
        return _finding(Level.SUSPECT, onset, (step, loss), baseline, config.suspect_sigmas, config)
    if newest >= config.band_sigmas:
        found = _shift(signals, baseline, config.shift_steps, config.band_sigmas, config)
        if found is not None:
            return found
    if newest < config.level_sigmas or len(signals.gap) < config.level_steps:
        return None
    return _shift(signals, baseline, config.level_steps, _level_limit(signals, config), config)


def _first_high(gap: Sequence[tuple[int, float]], baseline: Baseline, config: Config) -> int:
    """Return the first of the unbroken row of high losses that the newest one ends."""
    onset = gap[-1][0]
    for step, loss in reversed(gap):
        if baseline.excess(loss, step) < config.level_sigmas:
            break
        onset = step
    return onset


def _shift(
    signals: Signals, baseline: Baseline, count: int, sigmas: float, config: Config
) -> Finding | None:
    """Return the suspicion that the newest `count` losses lie `sigmas` too high together."""
    shift = list(signals.gap)[-count:]
    if len(shift) < count:
        return None
    excesses = [baseline.excess(value, at) for at, value in shift]
    if level(excesses, _LEVEL_WIDTH) < sigmas:
        return None
    onset = next(at for (at, _), e in zip(shift, excesses, strict=True) if e >= sigmas / 2)
    typical = (shift[-1][0], median([value for _, value in shift]))
    return _finding(Level.SUSPECT, onset, typical, baseline, sigmas, config)


def _level_limit(signals: Signals, config: Config) -> float:
    """Return how far the level may stray, by default and by what this run has shown.

    A run that has shown little yet is given the whole band.
    """
    strays = signals.strays[bisect_right(signals.strays, -_FALLING) :]
    count = len(strays)
    usual = strays[-_RARE] if count >= 4 * config.min_wander else max(strays, default=0.0)
    if count < config.min_wander:
        return max(config.band_sigmas, config.wander_ratio * usual)
    ratio = config.wander_ratio if count >= 2 * config.min_wander else config.young_wander_ratio
    return max(config.level_sigmas, ratio * usual)


def _follow(
    signals: Signals, losses: tuple[tuple[int, float], ...], baseline: Baseline, config: Config
) -> Finding | None:
    """Judge the losses since the onset; `losses` is never empty while something is suspected."""
    excesses = [baseline.excess(loss, step) for step, loss in losses]
    limit = _level_limit(signals, config)
    if _is_back(excesses, limit, config):
        return None
    is_stuck = _is_stuck(excesses, limit, config)
    if is_stuck and is_improving_since(signals.validations, losses[0][0]):
        return None
    typical = (losses[-1][0], median([loss for _, loss in losses[-config.recover_steps :]]))
    is_act = is_stuck and not _is_negligible(signals, typical, baseline, config)
    rung = Level.INCIDENT if is_act else Level.SUSPECT
    sigmas = min(limit, config.band_sigmas)
    return _finding(rung, losses[0][0], typical, baseline, sigmas, config)


def _is_negligible(
    signals: Signals, point: tuple[int, float], baseline: Baseline, config: Config
) -> bool:
    """Whether the loss rose by next to nothing of what was learned since the run began.

    A run that has converged to a loss of 3e-5 strays to 3e-4 and nobody would stop it, though on
    the scale of its own noise that is far.
    """
    step, loss = point
    forecast = baseline.forecast(step)
    learned = median(signals.start) - forecast if signals.start else 0.0
    return loss - forecast < config.negligible_ratio * learned


def _is_back(excesses: Sequence[float], limit: float, config: Config) -> bool:
    """Whether the newest losses are near the forecast; the later, the more of them are asked."""
    count = len(excesses)
    if count >= config.max_patience * config.patience_steps:
        return not _is_high(excesses, limit, config)
    if count < config.recover_steps:
        return False
    asked = config.shift_steps if count < config.level_steps else 2 * config.shift_steps
    return level(excesses[-asked:], _LEVEL_WIDTH) < config.back_ratio * limit


def _is_stuck(excesses: Sequence[float], limit: float, config: Config) -> bool:
    """Whether patience is spent with the loss still up, and not on its way down.

    A second spike while the first heals is given the same patience.
    """
    count = len(excesses)
    if count < config.patience_steps or not _is_high(excesses, limit, config):
        return False
    if count >= config.max_patience * config.patience_steps:
        return True
    newest = excesses[-config.patience_steps :]
    if max(newest[_FEW:]) >= config.suspect_sigmas and _is_renewed(excesses, config):
        return False
    return not _is_healing(excesses, config)


def _is_renewed(excesses: Sequence[float], config: Config) -> bool:
    """Whether the loss was at less than half of its peak and rose again within the patience."""
    start = max(2 * _FEW, len(excesses) - config.patience_steps + 1)
    peak = max(excesses[: start - _FEW])
    for at in range(start, len(excesses) - _FEW + 1):
        peak = max(peak, excesses[at - _FEW])
        before, after = median(excesses[at - _FEW : at]), median(excesses[at : at + _FEW])
        least = max(config.suspect_sigmas, _DOWN * _DOWN * peak)
        if before <= _DOWN * peak and after >= before + least:
            return True
    return False


def _is_high(excesses: Sequence[float], limit: float, config: Config) -> bool:
    """Whether the level is too high, and was so to the last."""
    is_level_high = level(excesses[-config.level_steps :], _LEVEL_WIDTH) >= limit
    return is_level_high and level(excesses[-config.shift_steps :], _LEVEL_WIDTH) >= 0.8 * limit


def _is_healing(excesses: Sequence[float], config: Config) -> bool:
    """Whether the distance to the forecast has shrunk enough over the last half of the patience.

    A distance within the noise of its own median cannot be seen to shrink; one that is down to a
    small share of the peak has shrunk already, whatever its slow tail.
    """
    half = config.patience_steps // 2
    now = median(excesses[-config.recover_steps :])
    before = median(excesses[-half - config.recover_steps : -half] or excesses[:1])
    if now <= config.healed_share * max(excesses):
        return True
    return before >= 2 * config.band_sigmas and now <= config.healing_ratio * before


def _finding(
    rung: Level,
    onset_step: int,
    point: tuple[int, float],
    baseline: Baseline,
    sigmas: float,
    config: Config,
) -> Finding:
    step, loss = point
    limit = baseline.threshold(sigmas, step)
    if rung is Level.SUSPECT:
        summary = (
            f"loss {loss:.4g} at step {step} is above {limit:.4g} ({sigmas:.3g} robust standard "
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
        level=rung,
        onset_step=onset_step,
        value=loss,
        threshold=limit,
        summary=summary,
        bad_steps=tuple(range(onset_step, onset_step + config.max_skipped_steps)),
    )
