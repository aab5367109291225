"""Submits a run to a Ray cluster through its Jobs API: the same command, on the head node.

What was checked here is checked there again, because data and run folders are the cluster's. The
code travels with the job; data goes by path, since Ray refuses uploads over 100 MiB.

Runs in: driver.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.job_submission import JobStatus, JobSubmissionClient

import jobs
from watchdog.errors import BadInput, WatchkeeperError

_EXCLUDES = (".git", ".venv", "runs", "data", "build", "dist")
_EXIT_CODES: Mapping[JobStatus, int] = {JobStatus.SUCCEEDED: 0, JobStatus.STOPPED: 130}


def submit_to_cluster(address: str, run_id: str, options: Sequence[str]) -> None:
    """Start a kept `python -m runner submit` with `options` on the cluster's head, as job `run_id`.

    A driver that is killed there is followed by one that resumes (`runner.keeper`).

    Args:
        address: the dashboard of the head node, such as `http://head:8265`.
        run_id: name of the run; the Ray job is called the same.
        options: options of `submit`, without the address.

    Raises:
        BadInput: nothing answers at the address, or it is none.
        WatchkeeperError: the cluster refused the job.
    """
    # Ray tells of every file that it leaves out of the upload, twice.
    logging.getLogger("ray").setLevel(logging.ERROR)
    command = ["python", "-u", "-m", "runner", "keep", *options]
    client = _client(address)
    try:
        client.submit_job(
            entrypoint=shlex.join(command), submission_id=run_id, runtime_env=_runtime_env()
        )
    except (RuntimeError, ValueError) as error:
        raise WatchkeeperError(
            f"the cluster at {address} refused run {run_id}: {_last_line(error)}; ADDRESS={address}"
        ) from error


def follow_on_cluster(address: str, run_id: str, *, is_silent: bool) -> None:
    """Wait for the Ray job `run_id` to end, printing its output as it comes unless silent."""
    asyncio.run(_read_logs(_client(address), run_id, is_silent=is_silent))


def exit_code_on_cluster(address: str, run_id: str) -> int:
    """Return the exit code of an ended job: the command's own where Ray kept it."""
    details = _client(address).get_job_info(run_id)
    if details.driver_exit_code is not None and details.status is not JobStatus.STOPPED:
        return int(details.driver_exit_code)
    return _EXIT_CODES.get(details.status, 1)


async def _read_logs(client: JobSubmissionClient, run_id: str, *, is_silent: bool) -> None:
    async for text in client.tail_job_logs(run_id):
        if not is_silent:
            sys.stdout.write(text)
            sys.stdout.flush()


def _client(address: str) -> JobSubmissionClient:
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BadInput(
            f"no Ray cluster answers at {address}: {_last_line(error)}; likely the head is down, "
            f"or this is not its dashboard (port 8265); ADDRESS={address}"
        ) from error


def _runtime_env() -> dict[str, Any]:
    """Return what travels with the job: this checkout, or nothing where the cluster has a wheel."""
    root = Path(jobs.__path__[0]).parent
    if not (root / "pyproject.toml").is_file():
        return {}
    return {"working_dir": str(root), "excludes": list(_EXCLUDES)}


def _last_line(error: Exception) -> str:
    """Return the line that says what happened: the last with a word, after Ray's traceback."""
    lines = [line.strip() for line in str(error).splitlines() if any(map(str.isalpha, line))]
    return lines[-1].rstrip(".") if lines else type(error).__name__
