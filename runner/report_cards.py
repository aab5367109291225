"""The cards of the report page: each verdict with its evidence, its act and its proof.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.chapters import Intervention
from runner.curves import Curves, Point, thin
from runner.plain_words import UNKNOWN, clock, duration, plural, value
from watchdog.records import STUCK_CAUSES

#: Chosen: what led up to a fault of a moment, and to one of a long while.
_BEFORE_STEPS = 40
_BEFORE_STUCK_STEPS = 300
_AFTER_STEPS = 24
_MAX_POINTS = 160
_WIDTH, _HEIGHT = 320.0, 150.0
#: Chosen: cards beyond these say the same again; each has a small chart in the page.
MAX_CARDS = 60

ByGeneration = Mapping[int, Sequence[Point]]


@dataclass(frozen=True, slots=True)
class MiniChart:
    """The loss around an incident, as lines of an SVG of 320 by 150.

    `before` is what went wrong, `after` the steps that replaced it; `marks` are steps that were not
    finite, `forecast_y` the loss that was promised; `band` spans from the first bad step to the
    verdict.
    """

    before: str
    after: str
    marks: tuple[tuple[float, float], ...]
    band: tuple[float, float]
    forecast_y: float | None
    labels: tuple[str, str, str, str]  # first step, last step, highest loss, lowest loss
    words: str


@dataclass(frozen=True, slots=True)
class Card:
    """One intervention: the sentence, its evidence, what was done and what it proved."""

    anchor: str
    title: str
    sentence: str
    is_halt: bool
    evidence: str = ""
    signals: tuple[tuple[str, str], ...] = ()
    act: tuple[tuple[str, str], ...] = ()
    proof: tuple[tuple[str, str], ...] = ()
    verdict_on_it: str = ""
    helped: bool | None = None
    chart: MiniChart | None = None


def cards(
    items: Sequence[Intervention], sentences: Sequence[str], curves: Curves
) -> tuple[Card, ...]:
    """Return the cards of the newest interventions, in their order."""
    points = by_generation(curves)
    pairs = list(zip(items, sentences, strict=True))
    first = max(0, len(pairs) - MAX_CARDS)
    return tuple(
        _card(number, item, sentence, points)
        for number, (item, sentence) in enumerate(pairs[first:], start=first + 1)
    )


def by_generation(curves: Curves) -> ByGeneration:
    """Return the points of each generation by step, those that count and those that do not."""
    found: dict[int, list[Point]] = {}
    for point in (*curves.clean, *(p for branch in curves.branches for p in branch)):
        found.setdefault(point.generation, []).append(point)
    return {number: sorted(points, key=lambda p: p.step) for number, points in found.items()}


def _card(number: int, item: Intervention, sentence: str, points: ByGeneration) -> Card:
    proof = item.proof
    return Card(
        anchor=f"incident-{number}",
        title=f"{item.cause or UNKNOWN} at step {item.onset_step:,}",
        sentence=sentence,
        is_halt=item.action == "halt",
        evidence=item.reason or UNKNOWN,
        signals=_signals(item, points.get(item.generation or 0, ())),
        act=tuple(_act(item)),
        proof=tuple(_proof(item)),
        verdict_on_it=proof.sentence if proof is not None else "",
        helped=proof.helped if proof is not None else None,
        chart=_chart(item, points),
    )


def _act(item: Intervention) -> list[tuple[str, str]]:
    facts = [("decided", f"{item.action or UNKNOWN} at step {item.step:,}, {clock(item.t_s)}")]
    recovery = item.recovery
    if recovery is not None:
        source = f" from {recovery.storage}" if recovery.storage else ""
        how = (recovery.tier or recovery.mechanism).replace("_", " ") or UNKNOWN
        facts.append(("recovery", f"{how}{source} in {duration(recovery.seconds)}"))
        if recovery.restored_step is not None:
            facts.append(("restored", f"step {recovery.restored_step:,}"))
        if recovery.skipped_samples:
            facts.append(("skipped", plural(recovery.skipped_samples, "sample")))
    if item.closed_step is not None:
        facts.append(("closed", f"after clean steps, at step {item.closed_step:,}"))
    return facts


def _proof(item: Intervention) -> list[tuple[str, str]]:
    proof, recovery = item.proof, item.recovery
    if proof is None:
        return []
    facts = []
    if proof.forecast is not None:
        facts.append(("forecast loss", value(proof.forecast)))
        facts.append(("what happened", value(proof.actual)))
    lost = proof.steps_lost if proof.steps_lost is not None else recovery and recovery.steps_lost
    if lost is not None:
        facts.append(("steps lost", f"{lost:,}"))
    if proof.seconds_lost is not None:
        facts.append(("time lost", duration(proof.seconds_lost)))
    return facts


def _signals(item: Intervention, points: Sequence[Point]) -> tuple[tuple[str, str], ...]:
    """Return what was measured when the verdict fell, beside what it was before the first bad."""
    good = [p for p in points if p.step < min(item.onset_step, item.step) and p.is_finite]
    told = [p for p in points if p.step <= item.step]
    before, at = (good[-1] if good else Point(0, 0)), (told[-1] if told else Point(0, 0))
    pairs = (
        ("loss", before.loss, at.loss),
        ("gradient norm", before.grad_norm, at.grad_norm),
        ("learning rate", before.lr, at.lr),
    )
    rows = [
        (name, f"{value(then)} before, {_number(now)} at the verdict")
        for name, then, now in pairs
        if then is not None or now is not None
    ]
    bad = [p for p in told if p.step >= item.onset_step]
    if bad:
        count = sum(not p.is_finite for p in bad)
        rows.append(("not finite", f"{count} of {plural(len(bad), 'step')} since the first bad"))
    if item.rank is not None:
        rows.append(("rank", str(item.rank)))
    if item.value is not None and item.threshold is not None:
        rows.append(("measured", f"{value(item.value)}, limit {value(item.threshold)}"))
    return tuple(rows)


def _number(number: float | None) -> str:
    if number is not None and not math.isfinite(number):
        return "NaN" if math.isnan(number) else "infinite"
    return value(number)


def _chart(item: Intervention, points: ByGeneration) -> MiniChart | None:
    span = _BEFORE_STUCK_STEPS if item.cause in STUCK_CAUSES else _BEFORE_STEPS
    restored = item.recovery.restored_step if item.recovery else None
    first = max(1, min(item.onset_step - span, restored or item.onset_step))
    last = max(item.step, item.onset_step) + _AFTER_STEPS
    generation = item.generation or 0
    before = _window([p for g in points if g <= generation for p in points[g]], first, last)
    after = _window(points.get(generation + 1, ()), first, last)
    losses = [loss for p in (*before, *after) if (loss := _finite(p.loss)) is not None]
    if len(losses) < 2:
        return None
    forecast = item.proof.forecast if item.proof is not None else None
    low, high = min(losses), max(losses)
    if forecast is not None:
        low, high = min(low, forecast), max(high, forecast)
    frame = _Frame(first, last, low, high)
    return MiniChart(
        before=frame.path(before),
        after=frame.path(after),
        marks=frame.marks(before),
        band=(frame.x(item.onset_step - 0.5), frame.x(max(item.step, item.onset_step) + 0.5)),
        forecast_y=None if forecast is None else frame.y(forecast),
        labels=(f"{first:,}", f"{last:,}", value(high), value(low)),
        words=f"Loss from step {first:,} to {last:,}, from {value(low)} to {value(high)}; bad from "
        f"step {item.onset_step:,} to the verdict at step {item.step:,}",
    )


def _window(points: Sequence[Point], first: int, last: int) -> tuple[Point, ...]:
    """Return the points of a window, one a step: of several generations, the newest's."""
    newest = {p.step: p for p in points if first <= p.step <= last}
    return thin([newest[step] for step in sorted(newest)], _MAX_POINTS)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Places of steps and losses in the small chart."""

    first: float
    last: float
    low: float
    high: float

    def x(self, step: float) -> float:
        share = (step - self.first) / max(1.0, self.last - self.first)
        return round(_WIDTH * min(1.0, max(0.0, share)), 1)

    def y(self, loss: float) -> float:
        span = self.high - self.low
        share = (loss - self.low) / span if span > 0 else 0.5
        return round(4 + (_HEIGHT - 8) * (1.0 - share), 1)

    def path(self, points: Sequence[Point]) -> str:
        """Return the line as the `d` of an SVG path; a loss that is not finite is a gap."""
        parts = []
        pen = "M"
        for point in points:
            loss = _finite(point.loss)
            if loss is None:
                pen = "M"
                continue
            parts.append(f"{pen}{self.x(point.step)} {self.y(loss)}")
            pen = "L"
        return "".join(parts)

    def marks(self, points: Sequence[Point]) -> tuple[tuple[float, float], ...]:
        """Return the places of steps that were not finite, at the last finite loss before."""
        found, level = [], (self.low + self.high) / 2
        for point in points:
            loss = _finite(point.loss)
            level = level if loss is None else loss
            if not point.is_finite:
                found.append((self.x(point.step), self.y(level)))
        return tuple(found)


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
