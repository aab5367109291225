"""What happened in a run, from its ledger: interventions with their recovery and their proof.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from runner.ledger_fields import Line, count, number, text, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How a verdict was carried out; None is unknown."""

    mechanism: str = ""  # in_place or restart
    tier: str = ""  # of a restart: regroup, spare, replace or restart
    storage: str = ""  # memory or durable
    restored_step: int | None = None
    seconds: float | None = None
    steps_lost: int | None = None
    skipped_samples: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The counterfactual that closed an intervention; `helped` None: cannot be told."""

    sentence: str = ""
    forecast: float | None = None
    actual: float | None = None
    steps_lost: int | None = None
    seconds_lost: float | None = None
    helped: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervention:
    """One verdict that ordered something, with all that followed from it."""

    verdict_id: int | None = None
    incident: str = ""
    t_s: float | None = None
    generation: int | None = None
    step: int = 0
    onset_step: int = 0
    cause: str = ""
    action: str = ""
    reason: str = ""
    lr_scale: float | None = None
    lr_scale_before: float = 1.0
    min_lr: float = 0.0
    recovery: Recovery | None = None
    proof: Proof | None = None
    closed_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A finding that was watched; most heal and are never acted on."""

    step: int | None
    cause: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLine:
    """What the ledger says of one checkpoint; `trust` is the last word on it."""

    step: int
    storage: str
    t_s: float | None = None
    size_bytes: int | None = None
    seconds: float | None = None
    trust: str = "candidate"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLine:
    """One life of the worker group; `error` is why it ended, if it failed."""

    attempt: int
    world_size: int | None = None
    from_step: int | None = None
    end_step: int | None = None
    outcome: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The ledger, put together. Times are Unix seconds."""

    started_t_s: float | None = None
    ended_t_s: float | None = None
    state: str = ""
    reason: str = ""
    max_steps: int | None = None
    interventions: tuple[Intervention, ...] = ()
    suspicions: tuple[Suspicion, ...] = ()
    checkpoints: tuple[CheckpointLine, ...] = ()
    attempts: tuple[AttemptLine, ...] = ()


@dataclass(slots=True)
class _Draft:
    """The story while the ledger is read."""

    story: Story = field(default_factory=Story)
    interventions: list[Intervention] = field(default_factory=list)
    suspicions: list[Suspicion] = field(default_factory=list)
    checkpoints: dict[tuple[int, str], CheckpointLine] = field(default_factory=dict)
    attempts: dict[int, AttemptLine] = field(default_factory=dict)
    lr_scale: float = 1.0


def tell(ledger: Iterable[Line]) -> Story:
    """Return the story of a ledger; lines that cannot be made sense of are passed over."""
    draft = _Draft()
    for line in ledger:
        if (read := _READERS.get(text(line, "kind"))) is not None:
            read(draft, line)
    return replace(
        draft.story,
        interventions=tuple(draft.interventions),
        suspicions=tuple(draft.suspicions),
        checkpoints=tuple(draft.checkpoints[key] for key in sorted(draft.checkpoints)),
        attempts=tuple(draft.attempts[key] for key in sorted(draft.attempts)),
    )


def _run_started(draft: _Draft, line: Line) -> None:
    story = draft.story
    started_t_s = number(line, "t_s") if story.started_t_s is None else story.started_t_s
    # A run that was taken up again has no end.
    draft.story = replace(
        story,
        started_t_s=started_t_s,
        max_steps=whole(line, "max_steps") or story.max_steps,
        ended_t_s=None,
        state="",
        reason="",
    )


def _run_ended(draft: _Draft, line: Line) -> None:
    draft.story = replace(
        draft.story,
        ended_t_s=number(line, "t_s"),
        state=text(line, "state"),
        reason=text(line, "reason"),
    )


def _attempt_started(draft: _Draft, line: Line) -> None:
    attempt = whole(line, "attempt") or 0
    restored_step = whole(line, "restored_step")
    from_step = whole(line, "step") if restored_step is None else restored_step
    draft.attempts[attempt] = AttemptLine(
        attempt=attempt, world_size=whole(line, "world_size"), from_step=from_step
    )


def _attempt_ended(draft: _Draft, line: Line) -> None:
    attempt = whole(line, "attempt") or 0
    begun = draft.attempts.get(attempt, AttemptLine(attempt=attempt))
    draft.attempts[attempt] = replace(
        begun,
        end_step=whole(line, "step"),
        outcome=text(line, "outcome"),
        error=text(line, "error"),
    )


def _suspect(draft: _Draft, line: Line) -> None:
    draft.suspicions.append(
        Suspicion(step=whole(line, "step"), cause=text(line, "cause"), reason=text(line, "reason"))
    )


def _verdict(draft: _Draft, line: Line) -> None:
    if text(line, "action") in ("", "continue"):
        return
    step = whole(line, "step") or 0
    lr_scale = number(line, "lr_scale")
    onset_step = whole(line, "onset_step")
    draft.interventions.append(
        Intervention(
            verdict_id=whole(line, "verdict_id"),
            incident=text(line, "incident"),
            t_s=number(line, "t_s"),
            generation=whole(line, "generation"),
            step=step,
            onset_step=step if onset_step is None else onset_step,
            cause=text(line, "cause"),
            action=text(line, "action"),
            reason=text(line, "reason"),
            lr_scale=lr_scale,
            lr_scale_before=draft.lr_scale,
            min_lr=number(line, "min_lr") or 0.0,
        )
    )
    draft.lr_scale = draft.lr_scale if lr_scale is None else lr_scale


def _recovery_done(draft: _Draft, line: Line) -> None:
    index = _meant([i.recovery is None for i in draft.interventions], draft.interventions, line)
    if index is not None:
        recovery = Recovery(
            mechanism=text(line, "mechanism"),
            tier=text(line, "tier"),
            storage=text(line, "from"),
            restored_step=whole(line, "restored_step"),
            seconds=number(line, "seconds"),
            steps_lost=whole(line, "steps_lost"),
            skipped_samples=count(line, "skipped_samples"),
        )
        draft.interventions[index] = replace(draft.interventions[index], recovery=recovery)


def _proof(draft: _Draft, line: Line) -> None:
    index = _meant([i.proof is None for i in draft.interventions], draft.interventions, line)
    if index is not None:
        helped = line.get("helped")
        proof = Proof(
            sentence=text(line, "sentence") or text(line, "reason"),
            forecast=_first_number(line, "forecast", "forecast_loss"),
            actual=_first_number(line, "actual", "actual_loss"),
            steps_lost=whole(line, "steps_lost"),
            seconds_lost=number(line, "seconds_lost"),
            helped=helped if isinstance(helped, bool) else None,
        )
        draft.interventions[index] = replace(draft.interventions[index], proof=proof)


def _first_number(line: Line, *names: str) -> float | None:
    return next((found for name in names if (found := number(line, name)) is not None), None)


def _incident_closed(draft: _Draft, line: Line) -> None:
    index = _meant([i.closed_step is None for i in draft.interventions], draft.interventions, line)
    if index is not None:
        closed = replace(draft.interventions[index], closed_step=whole(line, "step"))
        draft.interventions[index] = closed


def _meant(is_open: Sequence[bool], among: Sequence[Intervention], line: Line) -> int | None:
    """Return which intervention a line is about: the one it names, else the newest open one."""
    verdict_id, incident = whole(line, "verdict_id"), text(line, "incident")
    for index in reversed(range(len(among))):
        if verdict_id is not None and among[index].verdict_id == verdict_id:
            return index
        if verdict_id is None and incident and among[index].incident == incident:
            return index
    if verdict_id is not None or incident:
        return None
    return next((i for i in reversed(range(len(among))) if is_open[i]), None)


def _checkpoint_saved(draft: _Draft, line: Line) -> None:
    step, storage = whole(line, "step"), text(line, "storage")
    if step is not None:
        draft.checkpoints[step, storage] = CheckpointLine(
            step=step,
            storage=storage,
            t_s=number(line, "t_s"),
            size_bytes=whole(line, "size_bytes"),
            seconds=number(line, "seconds"),
        )


def _checkpoint_judged(draft: _Draft, line: Line) -> None:
    """A judgement without a storage is about every checkpoint of its step."""
    step, storage = whole(line, "step"), text(line, "storage")
    if step is not None and storage:
        # Of memory checkpoints the ledger may hold the judgement only.
        draft.checkpoints.setdefault((step, storage), CheckpointLine(step=step, storage=storage))
    trust = text(line, "kind").removeprefix("checkpoint_")
    note = text(line, "reason") or text(line, "error")
    for key, checkpoint in draft.checkpoints.items():
        if key[0] == step and (not storage or key[1] == storage):
            draft.checkpoints[key] = replace(checkpoint, trust=trust, note=note)


_READERS = {
    "run_started": _run_started,
    "run_ended": _run_ended,
    "attempt_started": _attempt_started,
    "attempt_ended": _attempt_ended,
    "suspect": _suspect,
    "verdict": _verdict,
    "recovery_done": _recovery_done,
    "proof": _proof,
    "incident_closed": _incident_closed,
    "checkpoint_saved": _checkpoint_saved,
    "checkpoint_trusted": _checkpoint_judged,
    "checkpoint_tainted": _checkpoint_judged,
    "checkpoint_quarantined": _checkpoint_judged,
}
