"""The findings as a person reads them.

Runs in: driver.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.plain_words import duration
from runner.preflight.findings import Finding, Level, Preflight

_STYLES = {
    Level.PASS: "green",
    Level.UNCHECKED: "dim",
    Level.WARN: "bold yellow",
    Level.FAIL: "bold red",
}


def show_findings(console: Console, preflight: Preflight, *, with_passed: bool = True) -> None:
    """Print one row a finding, and under each that is not passed what to do about it."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    before = ""
    for finding in preflight.findings:
        if not with_passed and finding.level in (Level.PASS, Level.UNCHECKED):
            continue
        shown = "" if finding.title == before else finding.title
        before = finding.title
        table.add_row(
            Text(finding.level.value, style=_STYLES[finding.level]), shown, _text(finding)
        )
    console.print(table)


def _text(finding: Finding) -> Text:
    quiet = "dim" if finding.level is Level.UNCHECKED else ""
    text = Text(finding.text, style=quiet)
    if finding.remedy:
        text.append("\n-> ", style="bold")
        text.append(finding.remedy, style="italic")
    return text


def summary(preflight: Preflight) -> str:
    """Return the one line that says how it went."""
    counts = {level: len(preflight.of_level(level)) for level in Level}
    parts = [f"{counts[Level.PASS]} passed"]
    for level, word in ((Level.WARN, "warned"), (Level.FAIL, "failed")):
        if counts[level]:
            parts.append(f"{counts[level]} {word}")
    if counts[Level.UNCHECKED]:
        parts.append(f"{counts[Level.UNCHECKED]} had nothing to check")
    estimate = preflight.number("estimate_s")
    ending = f"; the run will take about {duration(estimate)}" if estimate else ""
    return f"preflight: {', '.join(parts)}, in {duration(preflight.seconds)}{ending}"
