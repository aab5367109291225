"""Two or more runs side by side: the same epochs, the ends, what happened, what was set otherwise.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.evidence import Evidence
from runner.ledger_fields import number, text, whole
from runner.plain_words import LearningRates, headline
from runner.story import tell

#: Chosen: the seed projects compared ten epochs by hand; more do not fit a screen.
MAX_EPOCHS = 10
#: Without a known epoch a run is cut into as many equal stretches.
_STRETCHES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One run in numbers; None is unknown. `metric` is the run's validation metric."""

    run: str
    job: str
    state: str
    step: int
    loss: float | None
    val_loss: float | None
    metric: float | None
    best_metric: float | None
    best_metric_step: int | None
    seconds: float | None
    goodput_ratio: float | None
    incidents: Mapping[str, int]
    rollbacks: int
    restarts: int
    steps_lost: int
    metrics: Mapping[str, float]
    sentences: tuple[str, ...]
    epoch_steps: float | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """One epoch (or one tenth of the steps) of all runs, in their order."""

    name: str
    losses: tuple[float | None, ...]
    val_losses: tuple[float | None, ...]
    metrics: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that is not the same in all runs; None: the run has no such setting."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All there is to say of the runs; the first is what the others are compared with."""

    sides: tuple[Side, ...]
    stretches: tuple[Stretch, ...]
    is_by_epoch: bool
    differences: tuple[Difference, ...]
    conclusion: tuple[str, ...] = field(default=())


def compare(evidences: Sequence[Evidence]) -> Comparison:
    """Return the comparison of the runs behind the evidence."""
    sides = tuple(_side(evidence) for evidence in evidences)
    is_by_epoch = all(side.epoch_steps is not None for side in sides)
    return Comparison(
        sides=sides,
        stretches=_stretches(evidences, sides, is_by_epoch=is_by_epoch),
        is_by_epoch=is_by_epoch,
        differences=_differences([evidence.spec for evidence in evidences]),
        conclusion=tuple(_against(sides[0], side) for side in sides[1:]),
    )


def _side(evidence: Evidence) -> Side:
    story = tell(evidence.ledger)
    curves = evidence.curves
    scored = [(e.val_metric, e.step) for e in curves.evaluations if _is_number(e.val_metric)]
    best = max(scored, key=lambda pair: pair[0] or 0.0, default=(None, None))
    losses = [p.loss for p in curves.clean if _is_number(p.loss)]
    val_losses = [e.val_loss for e in curves.evaluations if _is_number(e.val_loss)]
    recoveries = [item.recovery for item in story.interventions if item.recovery is not None]
    return Side(
        run=evidence.run_id,
        job=text(evidence.spec, "name"),
        state=story.state or text(evidence.result, "state") or "unfinished",
        step=whole(evidence.result, "step") or (curves.clean[-1].step if curves.clean else 0),
        loss=losses[-1] if losses else None,
        val_loss=val_losses[-1] if val_losses else None,
        metric=scored[-1][0] if scored else None,
        best_metric=best[0],
        best_metric_step=best[1],
        seconds=number(evidence.result, "seconds") or sum(evidence.time_s.values()) or None,
        goodput_ratio=evidence.goodput_ratio,
        incidents=_incidents(evidence.ledger),
        rollbacks=sum(r.mechanism == "in_place" for r in recoveries),
        restarts=sum(r.mechanism != "in_place" for r in recoveries),
        steps_lost=sum(r.steps_lost or 0 for r in recoveries),
        metrics=_final_metrics(evidence.result),
        sentences=tuple(headline(item, LearningRates(), None) for item in story.interventions),
        epoch_steps=_epoch_steps(evidence),
    )


def _incidents(ledger: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many incidents of each cause were opened."""
    opened = [entry for entry in ledger if entry.get("kind") == "incident_opened"]
    return dict(Counter(text(entry, "cause") or "unknown" for entry in opened))


def _final_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    found = result.get("metrics")
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if _is_number(value)}


def _epoch_steps(evidence: Evidence) -> float | None:
    train = evidence.spec.get("train")
    batch_size = whole(train, "batch_size") if isinstance(train, dict) else None
    if not batch_size or not evidence.dataset_size:
        return None
    return evidence.dataset_size / batch_size


def _stretches(
    evidences: Sequence[Evidence], sides: Sequence[Side], *, is_by_epoch: bool
) -> tuple[Stretch, ...]:
    """Return the first epochs of all runs, as many as the longest has, at most ten."""
    if is_by_epoch:
        lengths = [side.epoch_steps or 1.0 for side in sides]
        count = max(math.ceil(side.step / n) for side, n in zip(sides, lengths, strict=True))
    else:
        longest = max(side.step for side in sides)
        lengths, count = [longest / _STRETCHES or 1.0] * len(sides), _STRETCHES
    found = []
    for place in range(min(count, MAX_EPOCHS)):
        parts = [
            _part(evidence, place * length, (place + 1) * length)
            for evidence, length in zip(evidences, lengths, strict=True)
        ]
        name = str(place + 1) if is_by_epoch else f"to step {round((place + 1) * lengths[0])}"
        losses, val_losses, metrics = zip(*parts, strict=True)
        found.append(Stretch(name, losses, val_losses, metrics))
    return tuple(found)


def _part(
    evidence: Evidence, after: float, to: float
) -> tuple[float | None, float | None, float | None]:
    """Return mean loss, last validation loss and last metric of the steps in (after, to]."""
    curves = evidence.curves
    losses = [p.loss for p in curves.clean if after < p.step <= to and _is_number(p.loss)]
    known = [loss for loss in losses if loss is not None]
    inside = [e for e in curves.evaluations if after < e.step <= to]
    val_losses = [e.val_loss for e in inside if _is_number(e.val_loss)]
    metrics = [e.val_metric for e in inside if _is_number(e.val_metric)]
    return (
        sum(known) / len(known) if known else None,
        val_losses[-1] if val_losses else None,
        metrics[-1] if metrics else None,
    )


def _differences(specs: Sequence[Mapping[str, Any]]) -> tuple[Difference, ...]:
    flat = [dict(_flat(spec, "")) for spec in specs]
    names = sorted({name for values in flat for name in values})
    rows = [Difference(name, tuple(values.get(name) for values in flat)) for name in names]
    return tuple(row for row in rows if any(value != row.values[0] for value in row.values))


def _flat(values: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{name}.")
        else:
            found.append((name, value))
    return found


def _against(first: Side, other: Side) -> str:
    """Return one sentence on a run against the first."""
    parts = [f"{other.run} {other.state} at step {other.step:,}"]
    if other.best_metric is not None and first.best_metric is not None:
        gain = other.best_metric - first.best_metric
        word = "above" if gain >= 0 else "below"
        parts.append(f"its best metric {other.best_metric:.4g} is {abs(gain):.4g} {word}")
    elif other.val_loss is not None and first.val_loss is not None:
        gain = other.val_loss - first.val_loss
        parts.append(f"its validation loss {other.val_loss:.4g} differs by {gain:+.4g}")
    if other.seconds and first.seconds:
        parts.append(f"it took {other.seconds / first.seconds:.2f} times as long")
    parts.append(f"incidents {sum(other.incidents.values())} to {sum(first.incidents.values())}")
    return f"Against {first.run}: {', '.join(parts)}."


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
