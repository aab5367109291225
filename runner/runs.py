"""Run folders: `runs/<run_id>/` with everything that is known of a run.

Every command works from these files alone, from any shell, whoever started the run.

Runs in: driver.
"""

from __future__ import annotations

import difflib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from watchdog.errors import RunNotFound, SpecError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_LATEST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run, by what they are; the folder's name is the run's id."""

    path: Path

    @property
    def run_id(self) -> str:
        """The name of the run."""
        return self.path.name

    @property
    def job_yaml(self) -> Path:
        """The resolved specification; `resume` needs nothing else."""
        return self.path / "job.yaml"

    @property
    def environment(self) -> Path:
        """Where and how the run was started: command, versions, hardware, git commit."""
        return self.path / "environment.json"

    @property
    def ledger(self) -> Path:
        """What was concluded and done, one JSON object a line."""
        return self.path / "ledger.jsonl"

    @property
    def trace(self) -> Path:
        """Every record, one JSON object a line."""
        return self.path / "trace.jsonl"

    @property
    def result(self) -> Path:
        """How the run ended, once it has."""
        return self.path / "result.json"

    @property
    def report(self) -> Path:
        """The report for people."""
        return self.path / "report.html"

    @property
    def lock(self) -> Path:
        """Held by the living driver; says which process that is."""
        return self.path / "driver.lock"

    @property
    def stop_file(self) -> Path:
        """Exists when somebody asked the driver to stop."""
        return self.path / "stop.request"

    @property
    def checkpoints(self) -> Path:
        """Durable checkpoints, unless the job stores them elsewhere."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Curves for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def logs(self) -> Path:
        """The workers' own output, one file each."""
        return self.path / "logs"

    @property
    def driver_log(self) -> Path:
        """What a driver without a terminal printed."""
        return self.path / "driver.log"

    @property
    def crash_log(self) -> Path:
        """The traceback of a driver that died of a mistake of ours."""
        return self.path / "crash.log"


def check_name(name: str) -> None:
    """Refuse a name that no run can have: it is one plain component of a path.

    Raises:
        SpecError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"run name {name!r} is not possible; a letter or digit, then up to 79 letters, "
            "digits, dots, dashes or underscores; RUN gave it"
        )


def check_run_name(runs_dir: Path, name: str) -> None:
    """Refuse a name that cannot become a new run.

    Raises:
        SpecError: the name is not one plain path component, or a run has it already.
    """
    check_name(name)
    if (runs_dir / name).exists():
        raise SpecError(
            f"run {name} exists already in {runs_dir}; `make resume RUN={name}` continues it, "
            "another RUN starts anew"
        )


def new_run_name(job: str, *, t_s: float) -> str:
    """Return `<job>-<UTC date>-<time>-<4 hex>` for a run that starts at `t_s`, Unix seconds."""
    stamp = datetime.fromtimestamp(t_s, tz=UTC).strftime("%Y%m%d-%H%M%S")
    return f"{job}-{stamp}-{secrets.token_hex(2)}"


def create_run(runs_dir: Path, job: str, name: str | None, *, t_s: float) -> RunFolder:
    """Create the folder of a new run, called `name` or as `new_run_name` says.

    Args:
        runs_dir: parent of all run folders; created when missing.
        job: name of the job.
        name: what the user calls the run, if anything.
        t_s: now, Unix seconds.

    Raises:
        SpecError: the name is impossible or taken, or the folder cannot be created.
    """
    if name is None:
        name = new_run_name(job, t_s=t_s)
    check_run_name(runs_dir, name)
    run = RunFolder((runs_dir / name).absolute())
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        run.path.mkdir()
    except OSError as error:
        raise SpecError(
            f"run folder {run.path} cannot be created: {error.strerror}; choose another place "
            f"with --runs-dir, now {runs_dir}"
        ) from error
    return run


def find_run(runs_dir: Path, name: str) -> RunFolder:
    """Return the folder of an existing run.

    Raises:
        RunNotFound: there is none of that name; the message offers the nearest and the latest.
    """
    folder = runs_dir / name
    if _NAME.fullmatch(name) and _is_run(folder):
        return RunFolder(folder.absolute())
    latest = [run.run_id for run in list_runs(runs_dir)]
    close = difflib.get_close_matches(name, latest, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    shown = ", ".join(latest[:_LATEST_SHOWN]) or "none"
    raise RunNotFound(f"run {name or '(no name)'} is not in {runs_dir}{hint} (latest: {shown})")


def list_runs(runs_dir: Path) -> list[RunFolder]:
    """Return all runs, the latest created first."""
    if not runs_dir.is_dir():
        return []
    folders = [folder.absolute() for folder in runs_dir.iterdir() if _is_run(folder)]
    folders.sort(key=lambda folder: (folder / "job.yaml").stat().st_mtime_ns, reverse=True)
    return [RunFolder(folder) for folder in folders]


def _is_run(folder: Path) -> bool:
    return (folder / "job.yaml").is_file()
