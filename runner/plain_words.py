"""Numbers and interventions in the words of a person who was not there.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from runner.chapters import Intervention, Recovery
from watchdog.records import Cause

UNKNOWN = "unknown"

_CAUSES: Mapping[str, str] = {
    Cause.NONFINITE: "the gradients became NaN or infinite",
    Cause.SPIKE: "the loss jumped and did not come back",
    Cause.DIVERGENCE: "the loss ran away from where it had been",
    Cause.DEAD_LOSS: "the loss froze: it was the same number again and again",
    Cause.LR_UNDERFLOW: "the learning rate had become too small to change anything",
    Cause.TRIVIAL: "the loss was no better than that of a constant answer",
    Cause.PLATEAU: "the loss stopped improving",
    Cause.SKIPPED_BATCHES: "too many optimizer steps had to be skipped",
    Cause.GRADIENTS: "the gradients began to explode",
    Cause.UNSTABLE_VALIDATION: "the validation loss became erratic",
    Cause.OVERFITTING: "validation got worse while training got better",
    Cause.STALL: "the run stood still",
    Cause.STRAGGLER: "one rank made all others wait",
    Cause.STORAGE: "checkpoints could not be written",
    Cause.CRASH: "a worker failed",
    Cause.NODE_LOST: "a node was lost",
    Cause.OUT_OF_MEMORY: "a worker ran out of memory",
}


@dataclass(frozen=True, slots=True)
class LearningRates:
    """Rates around an intervention; None is unknown."""

    before: float | None = None
    after: float | None = None


def duration(seconds: float | None) -> str:
    """Return a length of time with two units at most: `41 ms`, `2.5 s`, `3 min 5 s`."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def size(value_bytes: int | None) -> str:
    """Return a size in decimal units: `12.3 MB`."""
    if value_bytes is None:
        return UNKNOWN
    value = float(value_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def clock(t_s: float | None) -> str:
    """Return Unix seconds as a UTC date and time."""
    if t_s is None:
        return UNKNOWN
    try:
        return datetime.fromtimestamp(t_s, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return UNKNOWN


def value(number: float | None) -> str:
    """Return a measured number with four significant digits."""
    if number is None:
        return UNKNOWN
    return f"{number:.4g}"


def plural(count: int, noun: str) -> str:
    """Return `1 step`, `2 steps`, `2 batches`."""
    ending = "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}{ending}"


def headline(item: Intervention, rates: LearningRates, batch_size: int | None) -> str:
    """Return one intervention as sentences: what happened, what was done, how it went on."""
    what = _CAUSES.get(item.cause, f"an incident of cause {item.cause or UNKNOWN} was opened")
    what += _culprit(item)
    if item.action == "halt":
        return f"At step {item.onset_step} {what}. The watchdog stopped the run."
    parts = [_return(item)]
    if (change := _rate_change(item, rates)) is not None:
        parts.append(change)
    recovery = item.recovery or Recovery()
    if recovery.skipped_samples:
        parts.append(f"{_batches(recovery.skipped_samples, batch_size)} skipped")
    if item.recovery is not None:
        parts.append("training went on")
    return f"At step {item.onset_step} {what}. {'; '.join(parts)}."


#: How a verdict was carried out, as the report says it.
_ACTS: Mapping[str, str] = {
    "in_place": "Rolled back",
    "regroup": "Formed a new process group",
    "spare": "A spare worker took over",
    "replace": "Replaced the worker that died",
}


def _culprit(item: Intervention) -> str:
    is_of_a_rank = item.cause in (Cause.STALL, Cause.CRASH, Cause.OUT_OF_MEMORY, Cause.STRAGGLER)
    return f" (rank {item.rank})" if is_of_a_rank and item.rank is not None else ""


def _return(item: Intervention) -> str:
    recovery = item.recovery
    if recovery is None:
        return f"A {item.action} was ordered and is not in the ledger as done"
    act = _ACTS.get(recovery.tier or recovery.mechanism, "Restarted")
    if item.cause == Cause.STALL:
        act = act.replace("died", "hung")
    target = "" if recovery.restored_step is None else _from_step(recovery)
    took = "" if recovery.seconds is None else f" in {duration(recovery.seconds)}"
    return f"{act}{target}{took}"


def _from_step(recovery: Recovery) -> str:
    if recovery.mechanism == "in_place":
        return f" to step {recovery.restored_step}"
    if recovery.restored_step == 0:
        return " from scratch"
    return f" from step {recovery.restored_step}"


def _rate_change(item: Intervention, rates: LearningRates) -> str | None:
    if item.lr_scale is None or math.isclose(item.lr_scale, item.lr_scale_before):
        return None
    if rates.before is not None and rates.after is not None:
        return f"learning rate {value(rates.before)} \N{RIGHTWARDS ARROW} {value(rates.after)}"
    factor = item.lr_scale / item.lr_scale_before if item.lr_scale_before else item.lr_scale
    return f"learning rate times {value(factor)}"


def _batches(samples: int, batch_size: int | None) -> str:
    if batch_size and samples % batch_size == 0:
        return plural(samples // batch_size, "batch")
    return plural(samples, "sample")


def metric_sentences(metrics: Mapping[str, float]) -> list[str]:
    """Return the metrics in one line, and a line for each family such as `f1/<class>`."""
    families: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        family, _, member = name.rpartition("/")
        families.setdefault(family, {})[member] = value
    single = families.pop("", {})
    lines = [", ".join(f"{name} {value:.4g}" for name, value in single.items())] if single else []
    for family, members in families.items():
        ranked = sorted(members.items(), key=lambda member: member[1])
        told = ranked if len(ranked) <= 6 else [*ranked[:3], *ranked[-3:]]
        words = [f"{name} {value:.3g}" for name, value in told]
        if len(ranked) > 6:
            words.insert(3, f"... {len(ranked) - 6} more in result.json ...")
        lines.append(f"{family}, lowest first: {', '.join(words)}")
    return lines
