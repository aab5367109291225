"""Judges a recorded run: what would the watchdog have done on it, or what did it do?

A trace of our own holds the recoveries too, and is judged as the run was. In a foreign log nobody
obeyed: it is judged in mode `observe`, and what would have been ordered is told.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from watchdog.config import WatchdogConfig
from watchdog.config_file import read_config
from watchdog.core import Core
from watchdog.importers import choose
from watchdog.interventions import Conclusion
from watchdog.records import Action, LedgerKind, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something the watchdog had to say about a source."""

    source: str
    step: int
    cause: str
    level: str  # suspect | incident | recovered
    action: str
    onset_step: int
    reason: str


@dataclass(slots=True)
class Summary:
    """What a replay came to, complete once its events were all taken."""

    source: str
    records: int = 0
    incidents: int = 0
    suspects: int = 0
    is_torn: bool = False


class Replay:
    """The events of one file; `summary` fills up while they are iterated over."""

    def __init__(self, path: Path, format_name: str, config: WatchdogConfig | None) -> None:
        self._path = path
        self._format_name = format_name
        self._config = config
        self.summary = Summary(source=str(path))

    def __iter__(self) -> Iterator[Event]:
        """Yield the events in order.

        Raises:
            TraceError: the file cannot be read, or is malformed.
            SpecError: the job file beside it is wrong.
        """
        importer = choose(self._path, self._format_name)
        config = self._config if self._config is not None else _config_beside(self._path)
        if importer.is_foreign:
            config = config.model_copy(update={"mode": "observe"})
        core = Core(config)
        source = importer.read(self._path)
        for record in source:
            for conclusion in core.observe(record):
                event = _event(self.summary.source, conclusion)
                if event is not None:
                    self.summary.incidents += event.level == "incident"
                    self.summary.suspects += event.level == "suspect"
                    yield event
        self.summary.records = source.count
        self.summary.is_torn = source.is_torn


def _config_beside(path: Path) -> WatchdogConfig:
    job_file = path.parent / "job.yaml"
    return read_config(job_file) if job_file.exists() else WatchdogConfig()


def _event(source: str, conclusion: Conclusion) -> Event | None:
    if isinstance(conclusion, Verdict):
        return Event(
            source=source,
            step=conclusion.step,
            cause=conclusion.cause.value,
            level="incident",
            action=(conclusion.advised or conclusion.action).value,
            onset_step=conclusion.onset_step,
            reason=conclusion.reason,
        )
    if conclusion.kind is not LedgerKind.SUSPECT or conclusion.data["status"] == "superseded":
        return None
    return Event(
        source=source,
        step=conclusion.step,
        cause=conclusion.data["cause"],
        level="suspect" if conclusion.data["status"] == "open" else "recovered",
        action=Action.CONTINUE.value,
        onset_step=conclusion.data["onset_step"],
        reason=conclusion.data["reason"],
    )
