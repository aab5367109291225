"""Everything the report page shows, as texts and figures; the template only lays them out.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runner.briefing import Briefing, Case, brief
from runner.chapters import Intervention, Story
from runner.environment import flat
from runner.evidence import Evidence
from runner.ledger_fields import number, text, whole
from runner.plain_words import (
    UNKNOWN,
    LearningRates,
    clock,
    duration,
    headline,
    value,
)
from runner.report_cards import Card, cards
from runner.report_figures import Chart, charts
from runner.report_tables import (
    Table,
    attempts_table,
    checkpoints_table,
    first_line,
    hard_samples_table,
    metrics_table,
    remarks_table,
    suspicions_table,
)
from runner.report_timeline import BandsView, LineageView, bands_view, lineage_view
from runner.settings_view import Difference, differences
from runner.story import tell
from watchdog.redaction import redact


@dataclass(frozen=True, slots=True)
class Tile:
    """One number of the header."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """One category of the wall time; `percent` of the bar."""

    name: str
    label: str
    seconds: str
    percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportView:
    """The page."""

    run_id: str
    job: str
    description: str
    state: str
    outcome: str
    period: str
    briefing: Briefing
    lineage: LineageView
    bands: BandsView
    tiles: tuple[Tile, ...] = ()
    charts: tuple[Chart, ...] = ()
    cards: tuple[Card, ...] = ()
    tables: tuple[Table, ...] = ()
    shares: tuple[Share, ...] = ()
    differences: tuple[Difference, ...] = ()
    spec_text: str = ""
    setting: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    bad_lines: int = 0


#: Shorter times would read as `0 ms`.
_SHOWN_S = 0.0005

_SHARE_LABELS: Mapping[str, str] = {
    "productive": "productive steps",
    "startup": "start-up",
    "resources": "waiting for room in the cluster",
    "recovery": "recovery",
    "redone_steps": "steps thrown away",
    "checkpoint_stall": "waiting for checkpoints",
    "data_stall": "waiting for data",
    "validation": "validation",
    "waiting": "not explained yet",
    "other": "between steps",
}


def build_view(
    evidence: Evidence, environment: Mapping[str, str], *, is_driven: bool = False
) -> ReportView:
    """Return the page for a run; what is not known is said to be unknown or left out.

    `is_driven`: a driver is known to hold the run; of a copy of its files nobody knows.
    """
    story = tell(evidence.ledger)
    if is_driven:
        story = replace(story, state="running")
    sentences = [_sentence(item, evidence) for item in story.interventions]
    return ReportView(
        run_id=evidence.run_id,
        job=text(evidence.spec, "name") or UNKNOWN,
        description=text(evidence.spec, "description"),
        state=_state(evidence, story),
        outcome=_outcome(evidence, story),
        period=_period(evidence, story),
        briefing=brief(_case(evidence, story, sentences)),
        lineage=lineage_view(evidence.generations),
        bands=bands_view(evidence.timeline),
        tiles=_tiles(evidence, story),
        charts=charts(evidence, story),
        cards=cards(story.interventions, sentences, evidence.curves),
        tables=(
            metrics_table(evidence.result),
            checkpoints_table(story, evidence.checkpoints),
            attempts_table(story),
            suspicions_table(story),
            remarks_table(story),
            hard_samples_table(story),
        ),
        shares=_shares(evidence.time_s),
        differences=differences(evidence.spec),
        spec_text=redact(evidence.spec_text),
        setting={name: redact(words) for name, words in flat(evidence.setting).items()},
        environment=environment,
        bad_lines=evidence.bad_lines,
    )


def _state(evidence: Evidence, story: Story) -> str:
    return story.state or text(evidence.result, "state") or "unfinished"


def _outcome(evidence: Evidence, story: Story) -> str:
    step = _last_step(evidence)
    state = _state(evidence, story)
    if state == "running":
        return f"The run is under way at step {step}."
    if state == "unfinished" and not story.attempts and not step:
        return "The run has written nothing yet."
    if state == "unfinished":
        return f"The run has no end in its ledger; its last step is {step}."
    reason = story.reason or text(evidence.result, "reason")
    told = f": {reason}" if reason else ""
    return f"The run {_ENDINGS.get(state, state)} at step {step}{told}".rstrip(".") + "."


_ENDINGS: Mapping[str, str] = {
    "finished": "finished",
    "stopped": "was stopped",
    "halted": "was halted by the watchdog",
    "failed": "failed",
}


def _period(evidence: Evidence, story: Story) -> str:
    started_t_s = evidence.first_t_s if story.started_t_s is None else story.started_t_s
    ended_t_s = evidence.last_t_s if story.ended_t_s is None else story.ended_t_s
    if started_t_s is None and ended_t_s is None:
        return "not started"
    return f"{clock(started_t_s)} to {clock(ended_t_s)}"


def _last_step(evidence: Evidence) -> int:
    told = whole(evidence.result, "step")
    seen = evidence.curves.clean[-1].step if evidence.curves.clean else 0
    return seen if told is None else told


def _case(evidence: Evidence, story: Story, sentences: Sequence[str]) -> Case:
    errors = [attempt.error for attempt in story.attempts if attempt.error]
    return Case(
        run_id=evidence.run_id,
        job=text(evidence.spec, "name") or UNKNOWN,
        state=_state(evidence, story),
        outcome=_outcome(evidence, story),
        story=story,
        sentences=sentences,
        step=_last_step(evidence),
        crash=first_line(errors[-1]) if errors else "",
    )


def _sentence(item: Intervention, evidence: Evidence) -> str:
    train = evidence.spec.get("train")
    batch_size = whole(train, "batch_size") if isinstance(train, dict) else None
    return headline(item, _rates(item, evidence), batch_size)


def _rates(item: Intervention, evidence: Evidence) -> LearningRates:
    """Return the rate of the generation that went wrong, and what the verdict made of it."""
    points = [*evidence.curves.clean, *(p for b in evidence.curves.branches for p in b)]
    rates = [
        (point.step, point.lr)
        for point in points
        if point.generation == item.generation and point.lr is not None
    ]
    if not rates or item.lr_scale is None or not item.lr_scale_before:
        return LearningRates()
    _, before = min(rates, key=lambda pair: abs(pair[0] - item.onset_step))
    after = before * item.lr_scale / item.lr_scale_before
    return LearningRates(before, max(after, min(before, item.min_lr)))


def _tiles(evidence: Evidence, story: Story) -> tuple[Tile, ...]:
    curves = evidence.curves
    metrics = [e.val_metric for e in curves.evaluations if e.val_metric is not None]
    train = evidence.spec.get("train")
    max_steps = whole(train, "max_steps") if isinstance(train, dict) else story.max_steps
    seconds = number(evidence.result, "seconds") or sum(evidence.time_s.values()) or None
    lost = sum((i.recovery.steps_lost or 0) for i in story.interventions if i.recovery)
    ratio = evidence.goodput_ratio
    rollbacks = [i for i in story.interventions if i.recovery]
    in_place = sum(i.recovery.mechanism == "in_place" for i in rollbacks if i.recovery)
    goodput = UNKNOWN if ratio is None else f"{100 * ratio:.1f} %"
    return (
        Tile("steps", f"{_last_step(evidence):,}", f"of {max_steps:,}" if max_steps else ""),
        Tile("training loss", value(_last_loss(evidence)), "last finite"),
        Tile("validation metric", value(max(metrics, default=None)), "best"),
        Tile("wall time", duration(seconds), f"goodput {goodput}"),
        Tile("interventions", str(len(story.interventions)), f"{in_place} in place"),
        Tile("steps lost", f"{lost:,}", "thrown away"),
    )


def _last_loss(evidence: Evidence) -> float | None:
    losses = (p.loss for p in reversed(evidence.curves.clean))
    return next((loss for loss in losses if loss is not None and math.isfinite(loss)), None)


def _shares(time_s: Mapping[str, float]) -> tuple[Share, ...]:
    wall_s = sum(time_s.values())
    return tuple(
        Share(name, _SHARE_LABELS.get(name, name), duration(spent_s), 100 * spent_s / wall_s)
        for name, spent_s in time_s.items()
        if wall_s > 0 and spent_s >= _SHOWN_S
    )


def figures(view: ReportView) -> dict[str, Any]:
    """Return the figures of a page by the name of their chart."""
    return {chart.name: chart.figure for chart in view.charts}
