"""What the folder of a run says, read once; a missing file is an empty one, a torn line is counted.

Runs in: driver.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.curves import CurveBuilder, Curves
from runner.lineage import Generation, LineageBuilder
from runner.rank_timeline import Timeline, TimelineBuilder
from runner.rank_times import RankTime, RankTimes
from runner.runs import RunFolder
from runner.sound_records import sound_record
from watchdog.errors import SpecError
from watchdog.goodput import Accountant
from watchdog.records import AttemptStarted, CheckpointSaved, StepReport
from watchdog.strict_yaml import load_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A run folder in memory.

    `time_s` are seconds by goodput category; `setting` is where and how the run was started.
    """

    run_id: str
    spec_text: str
    spec: Mapping[str, Any]
    ledger: tuple[Mapping[str, Any], ...]
    result: Mapping[str, Any]
    curves: Curves
    rank_times: tuple[RankTime, ...]
    checkpoints: tuple[CheckpointSaved, ...]
    time_s: Mapping[str, float]
    goodput_ratio: float | None
    first_t_s: float | None
    last_t_s: float | None
    bad_lines: int
    dataset_size: int | None = None
    generations: tuple[Generation, ...] = ()
    timeline: Timeline = field(default_factory=Timeline)
    setting: Mapping[str, Any] = field(default_factory=dict)


def read_evidence(run: RunFolder) -> Evidence:
    """Return everything the files of `run` say; whatever is missing or torn is left out."""
    spec_text = _read_text(run.job_yaml)
    ledger = list(_json_lines(run.ledger))
    trace = _Trace()
    for line in _json_lines(run.trace):
        trace.observe(line)
    return Evidence(
        run_id=run.run_id,
        spec_text=spec_text,
        spec=_mapping_of_yaml(spec_text),
        ledger=tuple(line for line in ledger if line is not None),
        result=_mapping_of_json(_read_text(run.result)),
        curves=trace.curves.curves(),
        rank_times=trace.rank_times.by_rank(),
        checkpoints=tuple(trace.checkpoints),
        time_s=trace.accountant.time_s(),
        goodput_ratio=trace.accountant.ratio(),
        first_t_s=trace.first_t_s,
        last_t_s=trace.last_t_s,
        bad_lines=trace.bad_lines + ledger.count(None),
        dataset_size=trace.dataset_size,
        generations=trace.lineage.generations(),
        timeline=trace.timeline.timeline(),
        setting=_mapping_of_json(_read_text(run.environment)),
    )


class _Trace:
    """One pass over the trace, which is never in memory as a whole."""

    def __init__(self) -> None:
        self.curves = CurveBuilder()
        self.rank_times = RankTimes()
        self.lineage = LineageBuilder()
        self.timeline = TimelineBuilder()
        self.accountant = Accountant()
        self.checkpoints: list[CheckpointSaved] = []
        self.first_t_s: float | None = None
        self.last_t_s: float | None = None
        self.bad_lines = 0
        self.dataset_size: int | None = None

    def observe(self, line: Mapping[str, Any] | None) -> None:
        record = sound_record(line)
        if record is None:
            self.bad_lines += 1
            return
        self.first_t_s = record.t_s if self.first_t_s is None else self.first_t_s
        self.last_t_s = record.t_s
        self.curves.observe(record)
        self.lineage.observe(record)
        self.timeline.observe(record)
        self.accountant.observe(record)
        if isinstance(record, StepReport):
            self.rank_times.observe(record)
        elif isinstance(record, CheckpointSaved):
            self.checkpoints.append(record)
        elif isinstance(record, AttemptStarted) and isinstance(record.dataset_size, int):
            self.dataset_size = record.dataset_size


def _json_lines(path: Path) -> Iterator[Mapping[str, Any] | None]:
    """Yield the objects of a JSON lines file, None for a line that is not one."""
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        for line in file:
            if line.strip():
                yield _object(line)


def _object(line: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _mapping_of_json(text: str) -> Mapping[str, Any]:
    return _object(text.encode()) or {}


def _mapping_of_yaml(text: str) -> Mapping[str, Any]:
    try:
        value = load_yaml(text, "job.yaml")
    except SpecError:
        return {}
    return value if isinstance(value, dict) else {}
