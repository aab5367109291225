"""Numbers with names in a line of prose: `step 250: train loss 1.9, val loss 2.0`.

Every number is named by the words before it, up to the number before. `val`, `test` and the like
say whose the names after them are, until another word of that kind. Best values, limits, weights
and durations have names that mean nothing here, and times of day have none.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from watchdog.foreign_logs.names import (
    OTHER_WORDS,
    PART_FIELDS,
    TRAINING_WORDS,
    VALIDATION_WORDS,
    Field,
    Meaning,
    meaning,
)

#: A number that is not part of a word, a date, a version or a unit such as 5ms.
_NUMBER = re.compile(
    r"(?<![\w@.])(?<!\w-)[-+]?"
    r"(?:(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?|nan|inf(?:inity)?)(?!\w|\.\d)",
    re.IGNORECASE,
)
#: The end of `101st step`, which is a number all the same.
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b", re.IGNORECASE)
#: Where in an epoch: `[50/1000]`, `| 450/1000 [`, `1875/1875 [=====]`, `200/2983 batches`.
_PROGRESS = re.compile(
    r"(?:^|[\[(|\]])\s*(\d{1,15})\s*/\s*(\d{1,15})(?=\s*(?:[\[(|\]]|batches|it\b|━))", re.IGNORECASE
)
_LAST_WORD = re.compile(r"([A-Za-z_]\w*)\W*$")
_WORD = re.compile(r"(?<!\w)[A-Za-z_][\w/.-]*")
_SEGMENT_END = re.compile(r"[,;|\]\[]| - ")
_OPENING = " \t([{:='\""
_LINKS = frozenset({"after", "at", "in", "for", "on"})
#: Words between a name and its value that say nothing, or were heeded already.
_FILLERS = (
    frozenset({"is", "was", "of", "the", "now", "value", "set", "data"})
    | _LINKS
    | VALIDATION_WORDS
    | TRAINING_WORDS
)
_TRAINING = frozenset({Field.LOSS, Field.LOSS_PART})
#: One name a place: nanoGPT says `step 250` of a validation and `iter 250` of a step.
_PLACES = {Field.STEP: "step", Field.EPOCH: "epoch"}
_EDGES = "_.-/"
_MAX_LABEL_WORDS = 4
_MAX_LINE_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class _Label:
    """What the words before a number say of it, and of the number after it (`awaited`)."""

    is_validation: bool
    is_empty: bool = True
    name: str | None = None
    is_bare: bool = False
    awaited: str | None = None


@dataclass(slots=True)
class _Line:
    """What was found in a line so far; `whose` is the newest word that says so."""

    values: dict[str, float] = field(default_factory=dict)
    adorned: dict[str, float] = field(default_factory=dict)
    is_validation: bool = False
    awaited: str | None = None
    newest: str | None = None


def named_numbers(line: str) -> dict[str, float]:
    """Return the numbers of a line that have a name with a meaning; positions included.

    A validation that is still under way says nothing.
    """
    text = _ORDINAL.sub("", line[:_MAX_LINE_CHARACTERS])
    found = _Line()
    progress = next((m for m in _PROGRESS.finditer(text) if not _is_epoch(text, m)), None)
    if progress is not None:
        text = text[: progress.start(1)] + " " + text[progress.end() :]
    for gap, value in _numbers(text):
        _take(found, gap, value)
    values = {**found.adorned, **found.values}
    if progress is None or _has(values, Field.STEP):
        return values
    done, total = float(progress[1]), float(progress[2])
    if found.is_validation and not _has(values, Field.LOSS):
        return values if done >= total else {}
    return {"step": done, "epoch_steps": total, **values}


def _is_epoch(text: str, progress: re.Match[str]) -> bool:
    """Whether `[3/50]` is an epoch of so many, by the word before it."""
    word = _LAST_WORD.search(text[: progress.start(1)])
    known = meaning(word[1]) if word is not None else None
    return known is not None and known.field is Field.EPOCH


def _numbers(text: str) -> Iterator[tuple[str, float]]:
    """Yield each number with the text between it and the number before."""
    end = 0
    for match in _NUMBER.finditer(text):
        yield text[end : match.start()], float(match[0])
        end = match.end()


def _take(found: _Line, gap: str, value: float) -> None:
    if gap.strip() == "/":
        _divide(found, value)
        return
    label = _label(gap, found.is_validation)
    found.is_validation = label.is_validation
    found.newest = None
    if label.is_empty and found.awaited is not None and gap.strip(" '\"") in (":", "=", "->"):
        _put(found, found.awaited, value, is_bare=True)
    elif label.name is not None:
        _put(found, label.name, value, is_bare=label.is_bare)
    found.awaited = label.awaited


@functools.lru_cache(maxsize=4096)  # the lines of a log differ in their numbers, hardly in words
def _label(gap: str, is_validation: bool) -> _Label:
    """Return what the words before a number say; `is_validation` is what those before them said."""
    for word in _WORD.findall(gap):
        if _plain(word) in VALIDATION_WORDS | TRAINING_WORDS:
            is_validation = _plain(word) in VALIDATION_WORDS
    words = _WORD.findall(_SEGMENT_END.split(gap.rstrip(_OPENING))[-1])
    if not words:
        return _Label(is_validation=is_validation)
    name, is_bare = _name(words, is_validation=is_validation)
    awaited = _linked(words, is_validation=is_validation)
    return _Label(is_validation, False, name, is_bare, awaited)


def _put(found: _Line, name: str, value: float, *, is_bare: bool) -> None:
    """Note a value; the first of a name counts, and a bare `loss` before a `class loss`."""
    (found.values if is_bare else found.adorned).setdefault(name, value)
    found.newest = name


def _divide(found: _Line, total: float) -> None:
    """Take the number after a slash: the length of a count, or what a metric is counted out of."""
    known = meaning(found.newest) if found.newest is not None else None
    values = found.values if found.newest in found.values else found.adorned
    if known is None or found.newest is None:
        return
    if known.field is Field.STEP:
        found.values.setdefault("epoch_steps", total)
    elif known.field is Field.VAL_METRIC and total > 0:
        values[found.newest] /= total


def _name(words: Sequence[str], *, is_validation: bool) -> tuple[str | None, bool]:
    """Return the longest name with a meaning that the words end with, and whether it is all."""
    kept = list(words)
    while len(kept) > 1 and _plain(kept[-1]) in _FILLERS:
        kept.pop()
    for count in range(min(_MAX_LABEL_WORDS, len(kept)), 0, -1):
        name = "_".join(word.strip(_EDGES) for word in kept[-count:])
        known = _meaning(name, is_validation=is_validation)
        if known is None or (known.field in PART_FIELDS and count > 1):
            continue
        if _plain("".join(kept[-count - 1 : -count])) in OTHER_WORDS:  # the best loss is no loss
            break
        if known.field in _PLACES:
            return _PLACES[known.field], True
        is_ours = meaning(name) == known
        return (name if is_ours else f"val_{name}"), count == len(kept)
    return None, False


def _meaning(name: str, *, is_validation: bool) -> Meaning | None:
    known = meaning(name)
    if not is_validation or (known is not None and known.field not in _TRAINING):
        return known
    return meaning(f"val_{name}") or known


def _linked(words: Sequence[str], *, is_validation: bool) -> str | None:
    """Return what the next number is, after `loss at step 10: `; None as a rule."""
    for at, word in enumerate(words):
        if _plain(word) in _LINKS and at > 0:
            return _name(words[:at], is_validation=is_validation)[0]
    return None


def _plain(word: str) -> str:
    return word.lower().strip(_EDGES)


def _has(values: dict[str, float], wanted: Field) -> bool:
    return any((known := meaning(name)) is not None and known.field is wanted for name in values)
