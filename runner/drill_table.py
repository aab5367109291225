"""The table of a game day: for a terminal, and as the Markdown of the documentation.

Runs in: driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runner.drill_outcome import Row

_HEADS = (
    "scenario",
    "detected after",
    "mechanism",
    "next new step after",
    "steps lost",
    "outcome",
    "parameters",
)


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of one row, in the order of the heads."""
    survived = row.state if not row.misses else f"{row.state}, NOT AS PROMISED"
    return (
        row.name,
        _seconds(row.detected_s),
        ", ".join(row.mechanisms) or "none needed",
        _seconds(row.recovered_s),
        "-" if row.steps_lost is None else str(row.steps_lost),
        survived,
        {True: "equal", False: "differ", None: "-"}[row.is_equal],
    )


def markdown(rows: Iterable[Row]) -> str:
    """Return the table in Markdown."""
    lines = [_HEADS, tuple("---" for _ in _HEADS), *(cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def text(rows: Sequence[Row]) -> str:
    """Return the table in columns, with what was not kept below it."""
    lines = [_HEADS, *(cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADS))]
    out = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    out += [f"{row.name}: {miss}" for row in rows for miss in row.misses]
    kept = sum(not row.misses for row in rows)
    out.append(f"{kept} of {len(rows)} scenarios came out as promised")
    return "\n".join(out) + "\n"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
