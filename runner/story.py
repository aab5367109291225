"""What happened in a run, from its ledger: interventions with their recovery and their proof.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from runner.chapters import (
    AttemptLine,
    CheckpointLine,
    HardSample,
    Intervention,
    Proof,
    Recovery,
    Remark,
    Story,
    Suspicion,
)
from runner.ledger_fields import Line, count, listed, number, text, whole


@dataclass(slots=True)
class _Draft:
    """The story while the ledger is read."""

    story: Story = field(default_factory=Story)
    interventions: list[Intervention] = field(default_factory=list)
    suspicions: list[Suspicion] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    hard_samples: dict[int, HardSample] = field(default_factory=dict)
    checkpoints: dict[tuple[int, str], CheckpointLine] = field(default_factory=dict)
    attempts: dict[int, AttemptLine] = field(default_factory=dict)
    lr_scale: float = 1.0
    skipped: set[int] = field(default_factory=set)
    trusted: frozenset[int] = frozenset()  # steps that the last verdict might restore
    measured: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)


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
        remarks=tuple(draft.remarks),
        hard_samples=tuple(draft.hard_samples[index] for index in sorted(draft.hard_samples)),
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
        Suspicion(
            step=whole(line, "step"),
            cause=text(line, "cause"),
            reason=text(line, "reason"),
            status=text(line, "status"),
        )
    )


def _incident_opened(draft: _Draft, line: Line) -> None:
    draft.measured[text(line, "incident")] = (number(line, "value"), number(line, "threshold"))


def _verdict(draft: _Draft, line: Line) -> None:
    if text(line, "action") in ("", "continue"):
        remark = Remark(
            step=whole(line, "step"),
            cause=text(line, "cause"),
            advised=text(line, "advised"),
            reason=text(line, "reason"),
        )
        draft.remarks.append(remark)
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
            rank=whole(line, "rank"),
            value=draft.measured.get(text(line, "incident"), (None, None))[0],
            threshold=draft.measured.get(text(line, "incident"), (None, None))[1],
            lr_scale=lr_scale,
            lr_scale_before=draft.lr_scale,
            min_lr=number(line, "min_lr") or 0.0,
        )
    )
    draft.lr_scale = draft.lr_scale if lr_scale is None else lr_scale
    trusted = line.get("trusted_steps")
    told = trusted if isinstance(trusted, list) else []
    draft.trusted = frozenset(known for known in told if isinstance(known, int))


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
            skipped_samples=_newly_skipped(draft, line),
        )
        draft.interventions[index] = replace(draft.interventions[index], recovery=recovery)
        _trust_restored(draft, recovery)


def _trust_restored(draft: _Draft, recovery: Recovery) -> None:
    """Of memory checkpoints the ledger tells trust in verdicts alone."""
    step = recovery.restored_step
    if step is None or step not in draft.trusted or not recovery.storage:
        return
    key = (step, recovery.storage)
    known = draft.checkpoints.get(key, CheckpointLine(step=step, storage=recovery.storage))
    if known.trust == "candidate":
        draft.checkpoints[key] = replace(known, trust="trusted")


def _newly_skipped(draft: _Draft, line: Line) -> int | None:
    """Return how many samples are left out from now on; a new attempt is told the old ones too."""
    samples = line.get("skipped_samples")
    if not isinstance(samples, list):
        return count(line, "skipped_samples")
    named = {sample for sample in samples if isinstance(sample, int)}
    new = named - draft.skipped
    draft.skipped |= named
    return len(new)


def _proof(draft: _Draft, line: Line) -> None:
    for sample in listed(line, "hard_batches"):
        if (index := whole(sample, "index")) is not None:
            draft.hard_samples[index] = HardSample(
                index=index,
                epochs=whole(sample, "epochs") or 0,
                worst_excess=number(sample, "worst_excess"),
                has_rolled_back=sample.get("has_rolled_back") is True,
            )
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
    "incident_opened": _incident_opened,
    "verdict": _verdict,
    "recovery_done": _recovery_done,
    "proof": _proof,
    "incident_closed": _incident_closed,
    "checkpoint_saved": _checkpoint_saved,
    "checkpoint_trusted": _checkpoint_judged,
    "checkpoint_tainted": _checkpoint_judged,
    "checkpoint_quarantined": _checkpoint_judged,
}
