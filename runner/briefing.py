"""The answers for somebody who was woken: what happened, what was done, did it help, what now.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from runner.chapters import Intervention, Story
from runner.plain_words import UNKNOWN, duration, plural

#: Chosen: what is read at a glance; the rest follows as cards.
_MAX_SENTENCES = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """One question and its answer in sentences."""

    question: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Briefing:
    """The top of a report. `tone` is calm, healed, bad or open."""

    tone: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the briefing is made from; `sentences` tell each intervention, `outcome` the end."""

    run_id: str
    job: str
    state: str
    outcome: str
    story: Story
    sentences: Sequence[str]
    step: int
    crash: str = ""


def brief(case: Case) -> Briefing:
    """Return the four answers."""
    return Briefing(
        _tone(case),
        (
            Answer("What happened", _happened(case)),
            Answer("What was done", _done(case)),
            Answer("Did it help", _helped(case.story.interventions)),
            Answer("What to do now", _now(case)),
        ),
    )


def _tone(case: Case) -> str:
    if case.state in ("halted", "failed"):
        return "bad"
    acts = case.story.interventions
    if any(item.proof is not None and item.proof.helped is False for item in acts):
        return "open"
    if case.state not in ("finished", "stopped"):
        return "open" if acts and acts[-1].proof is None else "calm"
    return "healed" if acts else "calm"


def _happened(case: Case) -> tuple[str, ...]:
    causes: dict[str, int] = {}
    for item in case.story.interventions:
        causes[item.cause or UNKNOWN] = causes.get(item.cause or UNKNOWN, 0) + 1
    told = ", ".join(f"{cause} {count}x" if count > 1 else cause for cause, count in causes.items())
    faults = [f"{plural(sum(causes.values()), 'incident')} led to an act: {told}."] if told else []
    watched = len([s for s in case.story.suspicions if s.status != "recovered"])
    if not told and watched:
        faults = [f"{plural(watched, 'suspicion')} came and went by itself."]
    elif not told:
        faults = ["Nothing unusual was seen."]
    outcome = case.outcome
    if case.state == "halted":  # the advice among its clauses is the answer to another question
        outcome = outcome.split("; ")[0].rstrip(".") + "."
    return (outcome, *faults)


def _done(case: Case) -> tuple[str, ...]:
    sentences = case.sentences
    if not sentences:
        return ("Nothing had to be done: no intervention in this run.",)
    told = [
        f"{sentence} ({len(same)} times)" if (same := list(group))[1:] else sentence
        for sentence, group in groupby(sentences)
    ]
    shown = told[-_MAX_SENTENCES:]
    if (more := len(told) - len(shown)) > 0:
        shown.insert(0, f"{plural(more, 'earlier intervention')}, all of them below; the newest:")
    return tuple(shown)


def _helped(acts: Sequence[Intervention]) -> tuple[str, ...]:
    if not acts:
        return ("There was nothing to help.",)
    if all(item.action == "halt" for item in acts):
        return ("A halt heals nothing; it saves what going on would have cost.",)
    proofs = [item.proof for item in acts if item.action != "halt"]
    helped = sum(proof is not None and proof.helped is True for proof in proofs)
    failed = sum(proof is not None and proof.helped is False for proof in proofs)
    waiting = len(proofs) - helped - failed
    parts = [f"{helped} of {plural(len(proofs), 'intervention')} helped"]
    parts += [f"{failed} did not"] if failed else []
    parts += [f"{waiting} {'is' if waiting == 1 else 'are'} not proven yet"] if waiting else []
    if waiting == len(proofs):
        return (f"{', '.join(parts[1:])[:1].upper()}{', '.join(parts[1:])[1:]}.",)
    lost = sum((item.recovery.steps_lost or 0) for item in acts if item.recovery)
    seconds = sum(map(_seconds_lost, acts))
    cost = f"They cost {plural(lost, 'step')} and {duration(seconds)}."
    if len(proofs) == 1:
        cost = cost.replace("They", "It")
    return (f"{', '.join(parts)}. {cost}",)


def _seconds_lost(item: Intervention) -> float:
    """Return what the proof says, or the recovery alone where that took longer."""
    told_s = item.proof.seconds_lost if item.proof is not None else None
    took_s = item.recovery.seconds if item.recovery is not None else None
    return max(told_s or 0.0, took_s or 0.0)


def _now(case: Case) -> tuple[str, ...]:
    run, story = case.run_id, case.story
    match case.state:
        case "halted":
            return (
                *_advice(story),
                f"Change it and start a new run (make submit JOB={case.job}); "
                f"make resume RUN={run} would go on with the same settings.",
            )
        case "failed":
            return (
                *([f"The last error: {case.crash}"] if case.crash else []),
                f"Read the log of what failed (make logs RUN={run}), mend it, then make resume "
                f"RUN={run} continues from the newest checkpoint.",
            )
        case "stopped":
            return (f"Nothing is wrong. make resume RUN={run} continues at step {case.step}.",)
        case "finished":
            return _after_finish(story)
        case "running":
            ask = "Nothing" if _tone(case) == "calm" else "Wait for its proof"
            return (f"{ask}; make watch RUN={run} shows it live.",)
        case _:
            return (
                f"This page shows a run without an end: make watch RUN={run} shows it live if it "
                f"is driven, make resume RUN={run} continues it if nobody does.",
            )


def _advice(story: Story) -> tuple[str, ...]:
    """Return the last two clauses of a halt's reason: the advice, and the best checkpoint."""
    halts = [item for item in story.interventions if item.action == "halt"]
    reason = halts[-1].reason if halts else story.reason
    clauses = reason.split("; ")
    return tuple(f"{c[:1].upper()}{c[1:]}." for c in clauses[-2:] if c) if len(clauses) > 2 else ()


def _after_finish(story: Story) -> tuple[str, ...]:
    acts = story.interventions
    if not acts:
        return ("Nothing.",)
    out = []
    unhelped = [i for i in acts if i.proof is not None and i.proof.helped is False]
    if unhelped:
        out.append(
            f"The run finished with a fault that was not healed ({unhelped[-1].cause}): compare "
            "its metric with what you expected before you use it."
        )
    if bad := [str(sample.index) for sample in story.hard_samples if sample.has_rolled_back]:
        more = " and others" if len(bad) > 12 else ""
        out.append(
            f"Tonight nothing. When there is time, look at the samples that were skipped: "
            f"{', '.join(bad[:12])}{more}."
        )
    return tuple(out) or ("Nothing: the run healed and went on to its end.",)
