"""What `logs` shows: the driver's and the workers' output, and the ledger in plain words.

Runs in: driver.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from runner.driver_lock import is_driven
from runner.ledger_words import clock_time, ledger_sentence
from runner.runs import RunFolder
from runner.tail import LineTail
from watchdog.redaction import redact

_POLL_S = 0.5


class Doubled(io.TextIOBase):
    """A text file that writes to another one and to the end of a log."""

    def __init__(self, output: TextIO, log: Path) -> None:
        self._output = output
        self._log = log

    def write(self, text: str) -> int:
        """Write to both, without what is secret."""
        text = redact(text)
        with self._log.open("a", encoding="utf-8") as log:
            log.write(text)
        return self._output.write(text)

    def flush(self) -> None:
        """Write out what the other file holds back."""
        self._output.flush()


def log_lines(
    run: RunFolder, *, is_following: bool, sleep: Callable[[float], None]
) -> Iterator[str]:
    """Yield the lines of a run's logs, each opened by its source; until the driver ends if asked.

    Args:
        run: the run.
        is_following: wait for more lines while a driver holds the run.
        sleep: waits between two looks, seconds.
    """
    tails: dict[Path, LineTail] = {}
    while True:
        # Asked before reading, so that what a driver wrote last is read after it has gone.
        has_more = is_following and is_driven(run)
        for path in _sources(run):
            tail = tails.setdefault(path, LineTail(path))
            for line in tail.new_lines():
                yield _shown(run, path, line)
        if not has_more:
            return
        sleep(_POLL_S)


def _sources(run: RunFolder) -> list[Path]:
    return [run.driver_log, *sorted(run.logs.glob("*.log")), run.ledger, run.crash_log]


def _shown(run: RunFolder, path: Path, line: str) -> str:
    if path != run.ledger:
        return f"{path.stem:<8} | {line}"
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        return f"ledger   | {line}"
    return f"ledger   | {clock_time(entry.get('t_s'))}  {ledger_sentence(entry)}"
