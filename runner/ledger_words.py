"""The ledger in plain words, one sentence a line, for `logs` and the report.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

#: Kind of a ledger line -> sentence; a field that the line lacks reads as a question mark.
_SENTENCES: Mapping[str, str] = {
    "run_started": "run of {job} started, {max_steps} steps to go",
    "attempt_started": "attempt {attempt} started with {world_size} workers from step {step}",
    "checkpoint_saved": "checkpoint of step {step} saved ({storage})",
    "checkpoint_trusted": "checkpoint of step {step} is trusted",
    "checkpoint_tainted": "checkpoint of step {step} is tainted",
    "checkpoint_quarantined": "checkpoint of step {step} is quarantined: {error}",
    "suspect": "suspect {cause} at step {step}: {reason}",
    "incident_opened": "incident {cause} opened at step {step}: {reason}",
    "verdict": "verdict {action}: {reason}",
    "recovery_started": "recovery started at step {step}",
    "recovery_done": "recovered ({how}) to step {restored_step} from {from} in {seconds} s, "
    "{steps_lost} steps lost",
    "incident_closed": "incident {cause} closed at step {step}",
    "proof": "proof: {reason}",
    "attempt_ended": "attempt {attempt} ended at step {step}: {outcome}",
    "run_ended": "run {state} at step {step}: {reason}",
}


def ledger_sentence(line: Mapping[str, Any]) -> str:
    """Return a ledger line as a sentence; a kind unknown here is shown as it stands."""
    template = _SENTENCES.get(str(line.get("kind")))
    if template is None:
        return printable(f"{line.get('kind')} at step {line.get('step')}")
    how = line.get("tier") or line.get("mechanism")
    fields = defaultdict(
        lambda: "?", {name: _text(value) for name, value in {**line, "how": how}.items()}
    )
    sentence = template.format_map(fields).rstrip(" ").removesuffix(": ?").removesuffix(":")
    return printable(sentence)


def printable(text: str) -> str:
    """Return the text without what would steer a terminal; lines and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def clock_time(t_s: Any) -> str:
    """Return Unix seconds as UTC date and time to the second, or blanks of the same width."""
    if not isinstance(t_s, int | float):
        return " " * 19
    try:
        return datetime.fromtimestamp(t_s, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # no date of this calendar
        return " " * 19


def _text(value: Any) -> str:
    if value is None:
        return "?"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
