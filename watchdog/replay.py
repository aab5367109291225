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
from watchdog.errors import TraceError
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
    format: str = ""
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
            TraceError: the file cannot be read, is malformed, or holds nothing of the format.
            SpecError: the job file beside a trace is wrong.
        """
        importer = choose(self._path, self._format_name)
        self.summary.format = importer.name
        core = Core(self._settings(is_foreign=importer.is_foreign))
        source = importer.read(self._path)
        for record in source:
            for conclusion in core.observe(record):
                event = _event(self.summary.source, conclusion)
                if event is not None:
                    self.summary.incidents += event.level == "incident"
                    self.summary.suspects += event.level == "suspect"
                    yield event
        if source.count == 0:
            raise TraceError(
                f"{self._path} holds no record of the format {importer.name}; likely empty, cut "
                "off, or in another format; name the right one with --format"
            )
        self.summary.records = source.count
        self.summary.is_torn = source.is_torn

    def _settings(self, *, is_foreign: bool) -> WatchdogConfig:
        """Return the settings given; those of the run for its own trace; else the defaults."""
        config = self._config
        if config is None:
            job_file = self._path.parent / "job.yaml"
            is_ours = not is_foreign and job_file.exists()
            config = read_config(job_file) if is_ours else WatchdogConfig()
        return config.model_copy(update={"mode": "observe"}) if is_foreign else config


def _event(source: str, conclusion: Conclusion) -> Event | None:
    if isinstance(conclusion, Verdict):
        if conclusion.action is Action.CONTINUE and conclusion.advised is None:
            return None  # only the rate was changed, on a healthy run
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
