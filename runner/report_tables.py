"""The tables of the report page.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runner.chapters import CheckpointLine, Story
from runner.ledger_fields import number
from runner.plain_words import UNKNOWN, clock, duration, plural, size, value
from watchdog.records import CheckpointSaved

#: Chosen: more rows than this are not read; those that matter are kept, see the tables.
MAX_ROWS = 40
#: One burst can cost as many samples as there are in its batches.
MAX_SAMPLES = 12


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts; `badge_column` holds a word that is shown as a badge."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    badge_column: int | None = None

    @property
    def anchor(self) -> str:
        """The name that links of the page go to."""
        return self.title.lower().replace(" ", "-")


def checkpoints_table(story: Story, records: Sequence[CheckpointSaved]) -> Table:
    """Return the checkpoints with their trust: every durable one that fits, and those restored.

    Memory checkpoints come and go by the hundred; those that matter are the ones that were used,
    distrusted, or are the newest.
    """
    merged = _merged(story, records)
    restored = {
        (i.recovery.restored_step, i.recovery.storage) for i in story.interventions if i.recovery
    }
    newest_memory = [c for c in merged if c.storage == "memory"][-4:]
    chosen = [
        c
        for c in merged
        if c.storage != "memory"
        or (c.step, c.storage) in restored
        or c.trust in ("tainted", "quarantined")
        or c in newest_memory
    ]
    rows = tuple(_checkpoint_row(c, restored) for c in chosen[-MAX_ROWS:])
    hidden = len(merged) - len(rows)
    return Table(
        "Checkpoints",
        ("step", "where", "trust", "size", "saved in", "saved at", ""),
        rows,
        note=f"{plural(hidden, 'older or passing checkpoint')} not shown." if hidden else "",
        badge_column=2,
    )


def attempts_table(story: Story) -> Table:
    """Return the lives of the worker group."""
    rows = tuple(
        (
            str(a.attempt),
            _text(a.world_size),
            _text(a.from_step),
            _text(a.end_step),
            a.outcome.replace("_", " ") or "no end",
            first_line(a.error),
        )
        for a in story.attempts[-MAX_ROWS:]
    )
    columns = ("attempt", "workers", "from step", "to step", "outcome", "error")
    return Table("Attempts", columns, rows, badge_column=4)


def suspicions_table(story: Story) -> Table:
    """Return what was watched, the newest last."""
    rows = tuple(
        (_text(s.step), s.cause, s.status or UNKNOWN, s.reason)
        for s in story.suspicions[-MAX_ROWS:]
    )
    note = "A suspicion freezes the baseline and is acted on only if the loss does not come back."
    columns = ("step", "cause", "state", "evidence")
    return Table("Suspicions", columns, rows, note=note, badge_column=2)


def remarks_table(story: Story) -> Table:
    """Return the decisions that left the run as it was: advice, and what was undone."""
    rows = tuple(
        (_text(r.step), r.cause, r.advised or "none", r.reason) for r in story.remarks[-MAX_ROWS:]
    )
    note = "Advice is what would have been done if the watchdog were allowed to act."
    return Table("Advice and small corrections", ("step", "cause", "advice", "why"), rows, note)


def hard_samples_table(story: Story) -> Table:
    """Return the samples to look at: those that cost a rollback first, then by how far they go."""
    ranked = sorted(
        story.hard_samples,
        key=lambda s: (not s.has_rolled_back, -s.epochs, -(s.worst_excess or 0.0), s.index),
    )
    rows = tuple(
        (
            str(s.index),
            "skipped" if s.has_rolled_back else "known",
            str(s.epochs),
            "" if s.worst_excess is None else f"{s.worst_excess:.1f} deviations over the forecast",
        )
        for s in ranked[:MAX_SAMPLES]
    )
    hidden = len(ranked) - len(rows)
    note = "Indices in the data set. Skipped: its batch cost a rollback and is left out on replay."
    note += f" {plural(hidden, 'more sample')} in the ledger." if hidden else ""
    columns = ("sample", "what became of it", "epochs it spiked in", "worst")
    return Table("Hard batches", columns, rows, note, badge_column=1)


def metrics_table(result: Mapping[str, Any]) -> Table:
    """Return how good the model is at the end, beside a constant answer and beside an ensemble."""
    metrics, trivial = _numbers(result, "metrics"), _numbers(result, "trivial_metrics")
    ensemble = {
        name.removeprefix(_ENSEMBLE): found
        for name, found in metrics.items()
        if name.startswith(_ENSEMBLE)
    }
    single = {name: found for name, found in metrics.items() if not name.startswith(_ENSEMBLE)}
    columns = ["metric", "at the end"]
    columns += ["best constant answer"] if trivial else []
    columns += ["mean of the last checkpoints"] if ensemble else []
    rows = []
    for name, found in list(single.items())[:MAX_ROWS]:
        row = [name, value(found)]
        row += [value(trivial[name]) if name in trivial else ""] if trivial else []
        row += [value(ensemble[name]) if name in ensemble else ""] if ensemble else []
        rows.append(tuple(row))
    return Table("Result", tuple(columns), tuple(rows))


_ENSEMBLE = "ensemble_"


def _numbers(result: Mapping[str, Any], name: str) -> dict[str, float]:
    found = result.get(name)
    if not isinstance(found, dict):
        return {}
    pairs = ((str(key), number(found, key)) for key in found)
    return {key: read for key, read in pairs if read is not None}


def _merged(story: Story, records: Iterable[CheckpointSaved]) -> list[CheckpointLine]:
    """Return the ledger's checkpoints with what only the trace knows, by step."""
    found = {(c.step, c.storage): c for c in story.checkpoints}
    for record in records:
        key = (record.step, str(record.storage))
        known = found.get(key, CheckpointLine(step=record.step, storage=key[1]))
        found[key] = replace(
            known,
            t_s=record.t_s if known.t_s is None else known.t_s,
            size_bytes=record.size_bytes if known.size_bytes is None else known.size_bytes,
            seconds=record.seconds if known.seconds is None else known.seconds,
        )
    return [found[key] for key in sorted(found)]


def _checkpoint_row(
    c: CheckpointLine, restored: Collection[tuple[int | None, str]]
) -> tuple[str, ...]:
    role = "restored by a rollback or restart" if (c.step, c.storage) in restored else ""
    return (
        str(c.step),
        c.storage or UNKNOWN,
        c.trust,
        "" if c.size_bytes is None else size(c.size_bytes),
        "" if c.seconds is None else duration(c.seconds),
        "" if c.t_s is None else clock(c.t_s),
        c.note or role,
    )


def _text(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def first_line(error: str) -> str:
    """Return the line of an error that says what it was; of a traceback, the last."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]
