"""What is known of a living run, from its records and ledger lines as they come; bounded.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.ledger_fields import number, text, whole
from runner.ledger_words import ledger_sentence
from runner.live_curve import LiveCurve
from runner.live_ranks import LiveRanks
from runner.step_rate import StepRate
from watchdog.goodput import Accountant
from watchdog.records import (
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    EvalReport,
    Outcome,
    PhaseReport,
    Record,
    RollbackDone,
    RunStarted,
    StepReport,
    Storage,
)

#: Chosen: more than the tallest terminal shows.
_MAX_NEWS = 200
#: Chosen: more marks than columns of a curve cannot be told apart.
_MAX_MARKS = 400
#: Checkpoints come by the hundred; they have a place of their own on the screen.
_NO_NEWS = frozenset({"checkpoint_saved", "checkpoint_trusted"})
#: How an attempt ends that did as it was told.
_PLANNED_ENDS = frozenset({Outcome.FINISHED, Outcome.STOPPED, Outcome.HALTED, Outcome.RESIZED})


@dataclass(frozen=True, slots=True)
class News:
    """One line of the ledger, in words."""

    t_s: float | None
    kind: str
    sentence: str


@dataclass(slots=True)
class Curves:
    """The curves of the screen, by what they show."""

    loss: LiveCurve = field(default_factory=LiveCurve)
    val_loss: LiveCurve = field(default_factory=LiveCurve)
    val_metric: LiveCurve = field(default_factory=LiveCurve)
    lr: LiveCurve = field(default_factory=LiveCurve)
    grad_norm: LiveCurve = field(default_factory=LiveCurve)

    def all(self) -> tuple[LiveCurve, ...]:
        """Return every curve: a rollback takes all of them back."""
        return (self.loss, self.val_loss, self.val_metric, self.lr, self.grad_norm)


class WatchState:
    """Takes records and ledger lines, each in their order; holds what a screen shows.

    `is_whole` says that every record of the run was taken in: only then is the goodput known.
    """

    def __init__(self, run_id: str, *, job: str = "", max_steps: int | None = None) -> None:
        self.run_id = run_id
        self.job = job
        self.max_steps = max_steps
        self.phase = "pending"
        self.attempt = 0
        self.generation = 0
        self.step = 0
        self.furthest_step = 0  # the newest step ever made, superseded or not
        self.world_size = 0
        self.loss: float | None = None
        self.is_finite = True
        self.lr: float | None = None
        self.grad_norm: float | None = None
        self.val_metric: float | None = None
        self.val_loss: float | None = None
        self.started_t_s: float | None = None
        self.last_t_s: float | None = None
        self.saved_step: int | None = None
        self.trusted_step: int | None = None
        self.memory_step: int | None = None
        self.open_incident = ""
        self.end: Mapping[str, Any] | None = None
        self.is_whole = True
        self.counts = {"incidents": 0, "rollbacks": 0, "restarts": 0}
        self.steps_lost = 0
        self.news: deque[News] = deque(maxlen=_MAX_NEWS)
        self.marks: deque[tuple[int, str]] = deque(maxlen=_MAX_MARKS)
        self.curves = Curves()
        self.ranks = LiveRanks()
        self.rate = StepRate()
        self._accountant = Accountant()
        self._losses = ((0, 0), 0.0, 0)  # of the newest step: place, sum and count

    @property
    def goodput_ratio(self) -> float | None:
        """Productive time over wall time; None where records were left out."""
        return self._accountant.ratio() if self.is_whole else None

    @property
    def eta_s(self) -> float | None:
        """Seconds to the last step at the present rate; None while it cannot be told."""
        rate = self.rate.steps_per_s
        if self.end is not None or not rate or self.max_steps is None:
            return None
        eta_s = max(0.0, (self.max_steps - self.step) / rate)
        return eta_s if math.isfinite(eta_s) else None

    def observe(self, record: Record) -> None:
        """Take in one record of the trace."""
        self._clock(record.t_s)
        self._accountant.observe(record)
        match record:
            case StepReport():
                self._on_step(record)
            case PhaseReport():
                self.ranks.phase(record)
            case EvalReport():
                self._on_eval(record)
            case CheckpointSaved() if record.storage is Storage.MEMORY:
                self.memory_step = record.step
            case RollbackDone():
                self._go_back(record.restored_step, record.generation)
            case AttemptStarted():
                self.attempt, self.world_size = record.attempt, record.world_size
                self.ranks.start(record.world_size)
                self._go_back(record.restored_step, record.generation)
            case AttemptEnded() if record.outcome in _PLANNED_ENDS:
                self.ranks.finish()
            case AttemptEnded():
                self.ranks.lose(record.rank)
            case RunStarted():
                self.job = record.job or self.job
                self.max_steps = record.max_steps or self.max_steps
                self.started_t_s = self.started_t_s or record.t_s
            case _:
                pass

    def note(self, line: Mapping[str, Any]) -> News | None:
        """Take in one line of the ledger; return it in words if it is worth a line."""
        kind, step = text(line, "kind"), whole(line, "step")
        t_s = number(line, "t_s")
        if t_s is not None:
            self._clock(t_s)
        self._on_kind(kind, step, line)
        if kind in _NO_NEWS or not kind:
            return None
        news = News(t_s, kind, printable(ledger_sentence(line)))
        self.news.append(news)
        return news

    def _clock(self, t_s: float) -> None:
        if math.isfinite(t_s):
            self.last_t_s = t_s if self.last_t_s is None else max(self.last_t_s, t_s)
            self.ranks.clock(t_s)

    def _on_step(self, record: StepReport) -> None:
        if record.generation < self.generation:
            return
        if record.generation > self.generation:  # how it began was not read
            self._go_back(record.step - 1, record.generation)
        if self.phase != "running" and self.end is None:
            self.phase = "running"
        self.ranks.step(record)
        self.step = record.step
        self.furthest_step = max(self.furthest_step, record.step)
        self.rate.add(record.t_s, record.step)
        self.is_finite = record.is_finite
        self._add_loss(record)
        self.lr = self.lr if record.lr is None else record.lr
        self.curves.loss.add(record.step, record.loss)
        self.curves.lr.add(record.step, record.lr)
        self.curves.grad_norm.add(record.step, record.grad_norm)
        if record.grad_norm is not None and math.isfinite(record.grad_norm):
            self.grad_norm = record.grad_norm

    def _add_loss(self, record: StepReport) -> None:
        """Keep the mean over the ranks of the newest step."""
        if record.loss is None or not math.isfinite(record.loss):
            return
        place = (record.generation, record.step)
        _, total, count = self._losses if self._losses[0] == place else (place, 0.0, 0)
        self._losses = (place, total + record.loss, count + 1)
        self.loss = (total + record.loss) / (count + 1)

    def _on_eval(self, record: EvalReport) -> None:
        self.val_loss, self.val_metric = record.val_loss, record.val_metric
        self.curves.val_loss.add(record.step, record.val_loss)
        self.curves.val_metric.add(record.step, record.val_metric)

    def _go_back(self, restored_step: int, generation: int) -> None:
        self.generation = max(self.generation, generation)
        if restored_step < self.step:
            for curve in self.curves.all():
                curve.take_back(restored_step)
            self.step = restored_step
        self.rate = StepRate()

    def _on_kind(self, kind: str, step: int | None, line: Mapping[str, Any]) -> None:
        match kind:
            case "run_started":
                self.phase, self.end, self.open_incident = "starting", None, ""
            case "run_ended":
                self.end, self.phase = line, text(line, "state") or "ended"
            case "incident_opened":
                self.counts["incidents"] += 1
                self.open_incident = text(line, "cause")
                self.marks.append((whole(line, "onset_step") or step or 0, "incident"))
            case "incident_closed":
                self.open_incident = ""
            case "recovery_started":
                self.phase = "recovering"
            case "recovery_done":
                self.phase = "running"
                is_in_place = text(line, "mechanism") == "in_place"
                self.counts["rollbacks" if is_in_place else "restarts"] += 1
                self.steps_lost += whole(line, "steps_lost") or 0
            case "checkpoint_saved" if text(line, "storage") == "durable":
                self.saved_step = step
            case "checkpoint_trusted" if text(line, "storage") == "durable":
                self.trusted_step = step
            case _:
                pass


def printable(words: str) -> str:
    """Return a text that cannot steer the terminal, whatever file it came from."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words)
