"""Starts real runs as a user does, and reads what they left behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

PYTHON = (sys.executable, "-m", "runner")


@dataclass(frozen=True)
class Finished:
    """A run that ended: its folder, exit code and what it printed."""

    folder: Path
    code: int
    output: str

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return found

    def ledger(self, kind: str | None = None) -> list[dict[str, Any]]:
        return lines(self.folder / "ledger.jsonl", kind)

    def trace(self, kind: str | None = None) -> list[dict[str, Any]]:
        return lines(self.folder / "trace.jsonl", kind)

    def weights(self, step: int) -> str:
        """Return a digest of the model in the durable checkpoint of `step`."""
        path = self.folder / "checkpoints" / f"step_{step:08d}" / "state.pt"
        model = torch.load(path, weights_only=True)["model"]
        return hashlib.sha256(b"".join(t.numpy().tobytes() for t in model.values())).hexdigest()


def lines(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file, of one kind or all."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in found if kind is None or line["kind"] == kind]


class Submitted:
    """A run under way in a process of its own."""

    def __init__(
        self,
        runs_dir: Path,
        name: str,
        *arguments: str,
        command: str = "submit",
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.folder = runs_dir / name
        run = ["--run", name] if command == "submit" else [name]
        # The checks have tests of their own; here they would cost each run some seconds.
        job = ["--job", "template", "--no-preflight"] if command == "submit" else []
        self.process = subprocess.Popen(
            [*PYTHON, command, *job, *run, "--runs-dir", str(runs_dir), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )

    def finish(self, timeout_s: float = 180.0) -> Finished:
        """Wait for the end; a run that hangs is ended by its own process id."""
        try:
            output, _ = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, _ = self.process.communicate()
            raise AssertionError(f"the run did not end in {timeout_s} s:\n{output}") from None
        return Finished(self.folder, self.process.returncode, output)

    def wait_for_step(self, step: int, timeout_s: float = 90.0) -> None:
        """Return once the trace has a report of `step` or later."""
        self._wait_for_line(
            "trace.jsonl",
            lambda line: line["kind"] == "step" and line["step"] >= step,
            f"step {step}",
            timeout_s,
        )

    def wait_for_attempt(self, attempt: int, timeout_s: float = 90.0) -> dict[str, Any]:
        """Return the ledger's line of the start of `attempt`, once it has started."""
        return self._wait_for_line(
            "ledger.jsonl",
            lambda line: line["kind"] == "attempt_started" and line["attempt"] >= attempt,
            f"attempt {attempt}",
            timeout_s,
        )

    def wait_for_record(self, kind: str, timeout_s: float = 90.0) -> None:
        """Return once the trace has a record of a kind."""
        self._wait_for_line("trace.jsonl", lambda line: line["kind"] == kind, kind, timeout_s)

    def _wait_for_line(
        self, file: str, is_meant: Callable[[dict[str, Any]], bool], what: str, timeout_s: float
    ) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for line in whole_lines(self.folder / file):
                if is_meant(line):
                    return line
            if self.process.poll() is not None:
                raise AssertionError(f"the run ended early:\n{self.process.communicate()[0]}")
            time.sleep(0.05)
        raise AssertionError(f"{what} did not come in {timeout_s} s")

    def close(self) -> None:
        """Kill what is left of the run's driver; its Ray ends with it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)


def whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete lines of a file that is being written, or none where there is no file."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:
        yield json.loads(line)


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below `pid`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found, frontier = [], {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier}
        found += sorted(frontier)
    return found


def name_of(pid: int) -> str:
    """Return the command line of a process, or nothing."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
