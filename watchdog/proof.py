"""The counterfactual that closes an intervention: what was promised, what happened, what it cost.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from watchdog.baseline import median
from watchdog.incidents import Incident
from watchdog.records import STUCK_CAUSES

#: Chosen: the half width of the forecast band that a suspicion has to return to as well.
_BAND_SIGMAS = 3.0
#: Chosen: one-sided 97.7 %; without it a run that is as stuck as before helps every second time.
_STANDARD_ERRORS = 2.0
#: The standard error of a median is this much larger than that of a mean. Source: Laplace 1818.
_MEDIAN_COST = math.sqrt(math.pi / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Whether an intervention helped, in numbers and in one sentence.

    Losses are None where none is known; `seconds_lost` is what the run took longer to get past the
    bad step than it would have without the incident.
    """

    forecast_loss: float | None
    actual_loss: float | None
    steps_lost: int
    seconds_lost: float | None
    helped: bool
    reason: str


def prove(
    incident: Incident,
    step: int,
    *,
    is_over: bool,
    has_struck_again: bool = False,
    has_run_ended: bool = False,
) -> Proof:
    """Return the proof at `step`.

    Unless `is_over`, another incident or the end of the run came too early to verify; one of the
    same cause (`has_struck_again`) is proof enough that nothing helped.
    """
    forecast = incident.baseline.forecast(step) if incident.baseline is not None else None
    actual = median(incident.losses) if incident.losses else None
    helped = is_over and _has_helped(incident, actual, step)
    cost = f"{incident.steps_lost} steps lost"
    if is_over:
        reason = f"{_sentence(incident, forecast, actual, helped=helped)}; {cost}"
    elif has_struck_again:
        reason = f"the intervention did not help: the same cause struck again; {cost}"
    elif has_run_ended:
        steps = f"{incident.clean_steps} clean steps past the bad step"
        reason = f"not verified: the run ended after {steps}; {cost}"
    else:
        reason = f"not verified: another incident came before the bad step was passed; {cost}"
    return Proof(
        forecast_loss=forecast,
        actual_loss=actual,
        steps_lost=incident.steps_lost,
        seconds_lost=_seconds_lost(incident),
        helped=helped,
        reason=reason,
    )


def _has_helped(incident: Incident, actual: float | None, step: int) -> bool:
    """Past the bad step with a loss in the band; of a stuck run: surely better than it stood at."""
    if not incident.is_numeric or incident.baseline is None or actual is None:
        return True
    excess = incident.baseline.excess(actual, step)
    if incident.cause in STUCK_CAUSES:
        samples = 1 / len(incident.losses) + 1 / max(1, incident.baseline.steps)
        return excess < -_STANDARD_ERRORS * _MEDIAN_COST * math.sqrt(samples)
    return excess < _BAND_SIGMAS


def _seconds_lost(incident: Incident) -> float | None:
    """Elapsed from the fault until past the last bad step, less what those steps take anyway."""
    if incident.passed_t_s is None:
        return None
    elapsed_s = incident.passed_t_s - incident.fault_t_s
    steps = incident.bad_until_step - incident.onset_step + 1
    lost_s = elapsed_s - steps * (incident.step_s or 0.0)
    return max(0.0, lost_s) if math.isfinite(lost_s) else None


def _sentence(
    incident: Incident, forecast: float | None, actual: float | None, *, helped: bool
) -> str:
    if not incident.is_numeric:
        return f"the run is past step {incident.bad_until_step} again"
    losses = "no loss to compare"
    if forecast is not None and actual is not None:
        losses = f"loss {actual:.4g}, forecast without the incident {forecast:.4g}"
    verb = "helped" if helped else "did not help"
    return f"the intervention {verb}: {losses} past step {incident.bad_until_step}"
