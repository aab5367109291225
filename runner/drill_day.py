"""Runs the game day: each scenario as a user would submit it, on one Ray where that is possible.

Runs in: driver.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.checkpoints import CheckpointStore
from runner.drill_nodes import small_cluster
from runner.drill_outcome import Files, Row, judge_run
from runner.drill_scenarios import LAST_STEP, SETTINGS, Scenario
from runner.state import tensors_of
from watchdog.errors import CheckpointError

#: Chosen: a run takes some 10 s on a quiet machine, each restart of all workers as much again; a
#: run that takes this long (s) hangs, and is ended.
_MOST_S = 300.0
#: A process that SIGKILL ended.
_KILLED = -9


class GameDay:
    """Runs scenarios into `folder`; `say` takes a line about each."""

    def __init__(self, folder: Path, job: str, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._job = job
        self._say = say
        self._untouched: str | None = None

    def run(self, scenarios: Sequence[Scenario]) -> list[Row]:
        """Return the rows of the scenarios, in their order."""
        rows: dict[str, Row] = {}
        for needs_nodes in (False, True):
            group = [s for s in scenarios if s.needs_nodes is needs_nodes]
            if not group:
                continue
            nodes = (1, 1, 1) if needs_nodes else (4,)
            with small_cluster(nodes) as environment:
                for scenario in group:
                    rows[scenario.name] = self._one(scenario, environment)
                    self._say(_sentence(rows[scenario.name]))
        return [rows[scenario.name] for scenario in scenarios]

    def _one(self, scenario: Scenario, cluster: Mapping[str, str]) -> Row:
        environment = dict(os.environ) if scenario.is_alone else {**os.environ, **cluster}
        if scenario.is_alone:
            environment.pop("RAY_ADDRESS", None)
        started = time.monotonic()
        with (self._folder / f"{scenario.name}.log").open("w") as log:
            code = run_command(self._submit(scenario), environment, log)
            for _ in range(scenario.resumes):
                if code != _KILLED:
                    break
                resume = ["resume", scenario.name, "--runs-dir", str(self._folder)]
                code = run_command(resume, environment, log)
        seconds = time.monotonic() - started
        run = self._folder / scenario.name
        digest = _digest(run)
        if not scenario.drill:
            self._untouched = digest
        is_known = digest is not None and self._untouched is not None
        is_equal = digest == self._untouched if is_known else None
        return judge_run(scenario, _read(run), is_equal=is_equal, seconds=seconds)

    def _submit(self, scenario: Scenario) -> list[str]:
        command = ["submit", "--no-preflight", "--job", self._job, "--workers", "2"]
        command += ["--run", scenario.name, "--runs-dir", str(self._folder)]
        command += ["--set", f"{SETTINGS} {scenario.settings}"]
        return [*command, *(["--drill", scenario.drill] if scenario.drill else [])]


def run_command(
    command: Sequence[str], environment: Mapping[str, str], log: Any, most_s: float = _MOST_S
) -> int:
    """Return the exit code of `python -m runner`; a run that hangs is ended by its process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={"OMP_NUM_THREADS": "1", **environment},
    )
    try:
        return process.wait(timeout=most_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait() and 1  # not taken for a drill's SIGKILL


def _read(run: Path) -> Files:
    result = {}
    with contextlib.suppress(OSError, ValueError):
        result = json.loads((run / "result.json").read_text())
    return Files(
        ledger=_lines(run / "ledger.jsonl"),
        trace=_lines(run / "trace.jsonl"),
        claims=_lines(run / "drill_claims.jsonl"),
        result=result,
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    def whole() -> Iterator[dict[str, Any]]:
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # a line that a death has torn
                yield json.loads(line)

    return list(whole()) if path.exists() else []


def _digest(run: Path) -> str | None:
    """Return a digest of model and optimizer after the last step; None if there is no such."""
    try:
        tree, _ = CheckpointStore(str(run / "checkpoints")).load(LAST_STEP)
    except CheckpointError:
        return None
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors_of(tree))).hexdigest()


def _sentence(row: Row) -> str:
    kept = "as promised" if not row.misses else "; ".join(row.misses)
    return f"{row.name} ({row.seconds:.0f} s): {row.state}, {kept}"
