"""Statuses of runs for people (a table) and for programs (one JSON document).

Runs in: driver.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from runner.run_status import RunStatus
from watchdog.errors import WatchkeeperError

#: How a state looks, wherever it is shown.
STATE_COLOURS = {
    "running": "cyan",
    "finished": "green",
    "stopped": "yellow",
    "interrupted": "yellow",
    "halted": "red",
    "failed": "red",
}


def status_json(status: RunStatus) -> dict[str, Any]:
    """Return the status as a JSON object; its keys are a contract."""
    return dataclasses.asdict(status)


def status_from_json(row: Mapping[str, Any]) -> RunStatus:
    """Return the status that `status_json` made an object of; keys it does not know are left out.

    Raises:
        WatchkeeperError: the object lacks a key, so another version wrote it.
    """
    names = {field.name for field in dataclasses.fields(RunStatus)}
    try:
        return RunStatus(**{name: value for name, value in row.items() if name in names})
    except TypeError as error:
        raise WatchkeeperError(f"a status of another version of the runner: {error}") from error


def to_json_text(value: Any) -> str:
    """Return one JSON document, indented, ending in a newline."""
    return json.dumps(value, indent=2) + "\n"


def show_list(console: Console, statuses: Sequence[RunStatus]) -> None:
    """Print one row a run."""
    if not statuses:
        console.print("no runs yet; start one with: make submit JOB=vesuvius")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    for name in ("job", "state"):
        table.add_column(name)
    for name in ("step", "loss", "metric", "incidents", "recoveries", "age"):
        table.add_column(name, justify="right", no_wrap=True)
    for status in statuses:
        table.add_row(
            Text(status.run),
            Text(status.job or "-"),
            _state(status),
            _steps(status),
            number(status.loss),
            number(status.val_metric),
            str(status.incidents),
            str(status.rollbacks + status.restarts),
            duration(status.age_s),
        )
    console.print(table)


def show_status(console: Console, status: RunStatus) -> None:
    """Print everything known of one run, one fact a line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows: list[tuple[str, str | Text]] = [
        ("run", status.run),
        ("job", status.job or "-"),
        ("state", _state(status)),
        ("reason", status.reason or "-"),
        ("step", _steps(status)),
        ("attempt", "-" if status.attempt is None else str(status.attempt)),
        ("loss", number(status.loss)),
        ("val metric", number(status.val_metric)),
        ("learning rate", f"{number(status.lr)} (scale {number(status.lr_scale)})"),
        ("incidents", str(status.incidents)),
        ("rollbacks", str(status.rollbacks)),
        ("restarts", str(status.restarts)),
        ("last verdict", status.last_verdict_reason or "-"),
        ("last record", f"{duration(status.age_s)} ago" if status.age_s is not None else "-"),
    ]
    for name, value in rows:
        # As text: what comes from a run's files is not to be taken for markup.
        table.add_row(name, Text(value) if isinstance(value, str) else value)
    console.print(Group(table))


def number(value: float | None) -> str:
    """Return four significant digits, or a dash."""
    return "-" if value is None else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """Return seconds as the two largest units that matter, or a dash."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    for unit_s, unit, below_s, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= unit_s:
            return f"{whole // unit_s} {unit} {whole % unit_s // below_s} {below}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def _state(status: RunStatus) -> Text:
    return Text(status.state, style=STATE_COLOURS.get(status.state, ""))


def _steps(status: RunStatus) -> str:
    step = "-" if status.step is None else str(status.step)
    return step if status.max_steps is None else f"{step}/{status.max_steps}"
