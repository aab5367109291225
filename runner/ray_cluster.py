"""The way to a Ray cluster from elsewhere: its Jobs API, and nothing else.

A run is a job that Ray keeps on the head: the same command, which checks everything once more,
because data and run folders are the cluster's. A question about a run is a small job there too,
whose log is the answer. The code travels with each; data goes by path.

Runs in: driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shlex
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

import jobs
from runner.frames import Decoder, Frame, Kind
from runner.remote_address import dashboard_url
from runner.upload import Upload, pack_checkout
from watchdog.errors import BadInput, WatchkeeperError

#: They tell of every upload and of every connection that ends, at levels of their own.
_TALKATIVE = ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")
_EXIT_CODES: Mapping[JobStatus, int] = {JobStatus.SUCCEEDED: 0, JobStatus.STOPPED: 130}
#: Chosen: a head answers some seconds before it can take jobs; Ray waits 15 s in each try itself.
_TRIES = 4
#: Chosen: a laptop that wakes up finds its network again within a minute.
_PATIENCE_S = 60.0
_PAUSE_S = 1.0
#: Chosen: an answered question is mostly over within a second; its job is then forgotten (s).
_FORGET_S = 2.0
#: Chosen: whoever asked a question that ended so long ago (s) has read the answer.
_OLD_S = 60.0
_QUESTION = {"watchkeeper": "question"}
_LOST = (RuntimeError, ConnectionError, aiohttp.ClientError, requests.RequestException, OSError)


class JobExists(BadInput):
    """The cluster has a job of that name, which may have ended."""


class Cluster:
    """A cluster by the address of its dashboard, such as `http://head:8265`.

    Raises:
        BadInput: nothing answers there, or it is none.
    """

    def __init__(self, address: str) -> None:
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.ERROR)
        self.address = address = dashboard_url(address)
        try:
            self._client = JobSubmissionClient(address)
        except AuthenticationError as error:
            raise BadInput(
                f"the cluster at {address} asks for a token: {_complaint(error)}; copy the "
                "cluster's to a file that only you can read and name it with RAY_AUTH_TOKEN_PATH "
                f"(RAY_AUTH_MODE={os.environ.get('RAY_AUTH_MODE', 'unset')}); ADDRESS={address}"
            ) from error
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise BadInput(
                f"no Ray cluster answers at {address}: {_last_line(error)}; likely the head is "
                f"down, or this is not its dashboard (http://head:8265); ADDRESS={address}"
            ) from error

    def submit(self, job_id: str, command: Sequence[str]) -> Upload | None:
        """Start `python -m runner COMMAND` on the head as Ray job `job_id`; return what was sent.

        Raises:
            BadInput: the code is too large.
            JobExists: the cluster has a job of that name.
            WatchkeeperError: the cluster refused the job.
        """
        with tempfile.TemporaryDirectory() as folder:
            upload = _pack(Path(folder) / "watchkeeper.zip")
            for left in reversed(range(_TRIES)):
                try:
                    self._submit(job_id, command, upload)
                except (RuntimeError, ValueError) as error:
                    text = _last_line(error)
                    if "already exists" in str(error):
                        raise JobExists(job_id) from error
                    if "No available agent" in str(error) and left:
                        continue
                    raise WatchkeeperError(
                        f"the cluster at {self.address} refused {job_id}: {text}{_hint(text)}; "
                        f"ADDRESS={self.address}"
                    ) from error
                return upload
        raise AssertionError("the last try returns or raises")

    def jobs_of(self, run_id: str) -> list[str]:
        """Return the jobs that drive or drove a run, the newest first."""
        found = [job for job in self._client.list_jobs() if job.submission_id]
        found.sort(key=lambda job: job.start_time or 0, reverse=True)
        ids = [str(job.submission_id) for job in found]
        return [one for one in ids if one == run_id or one.startswith(f"{run_id}~")]

    def _submit(self, job_id: str, command: Sequence[str], upload: Upload | None) -> None:
        is_question = job_id.startswith("ask~")
        if upload is None:
            entrypoint = ["python", "-u", "-m", "runner", *command]
        else:
            entrypoint = ["sh", "runner/on_head.sh", *command]
        self._client.submit_job(
            entrypoint=shlex.join(entrypoint),
            submission_id=job_id,
            runtime_env={} if upload is None else {"working_dir": str(upload.archive)},
            metadata=_QUESTION if is_question else {},
        )

    def follow(self, job_id: str) -> Iterator[str]:
        """Yield what a job prints until it ends, across a lost connection.

        Raises:
            WatchkeeperError: the connection did not come back within a minute.
        """
        said = 0
        lost_since_s: float | None = None
        while True:
            skip = said
            try:
                for text in self._tail(job_id):
                    lost_since_s = None
                    if fresh := text[skip:]:
                        said += len(fresh)
                        yield fresh
                    skip = max(0, skip - len(text))
                if self.has_ended(job_id):
                    return
            except _LOST as error:
                lost_since_s = lost_since_s or time.monotonic()
                if time.monotonic() - lost_since_s > _PATIENCE_S:
                    raise WatchkeeperError(
                        f"no word from the cluster at {self.address} for {_PATIENCE_S:g} s: "
                        f"{_last_line(error)}; {job_id} goes on there; ADDRESS={self.address}"
                    ) from error
            time.sleep(_PAUSE_S)

    def _tail(self, job_id: str) -> Iterator[str]:
        loop = asyncio.new_event_loop()
        pieces = self._client.tail_job_logs(job_id)
        try:
            while True:
                yield loop.run_until_complete(anext(pieces))
        except StopAsyncIteration:
            return
        finally:
            loop.run_until_complete(pieces.aclose())
            loop.close()

    def exit_code(self, job_id: str) -> int:
        """Return the exit code of an ended job: the command's own where Ray kept it."""
        details = self._client.get_job_info(job_id)
        if details.driver_exit_code is not None and details.status is not JobStatus.STOPPED:
            return int(details.driver_exit_code)
        return _EXIT_CODES.get(details.status, 1)

    def is_under_way(self, run_id: str) -> bool:
        """Whether the job that drives a run, or is about to again, has not ended."""
        job_ids = self.jobs_of(run_id)
        return bool(job_ids) and not self.has_ended(job_ids[0])

    def may_go_on(self, run_id: str) -> bool:
        """Whether a run is under way as far as is known: a lost connection says nothing of it."""
        try:
            return self.is_under_way(run_id)
        except _LOST:
            return True

    def has_ended(self, job_id: str) -> bool:
        """Whether a job is over."""
        return bool(self._client.get_job_status(job_id).is_terminal())

    def log_of(self, job_id: str) -> str:
        """Return what a job has printed."""
        return str(self._client.get_job_logs(job_id))

    def ask(self, command: Sequence[str]) -> Generator[Frame, None, None]:
        """Run a command on the head and yield what it says as it comes; the exit code is last.

        Raises:
            WatchkeeperError: the cluster refused, or gave no answer.
        """
        self._forget_older()
        job_id = f"ask~{secrets.token_hex(6)}"
        self.submit(job_id, ["answer", *command])
        decoder = Decoder()
        is_answered = False
        try:
            for text in self.follow(job_id):
                for frame in decoder.feed(text):
                    is_answered = frame.kind is Kind.EXIT
                    yield frame
                    if is_answered:
                        return
            is_answered = True
            raise WatchkeeperError(
                f"the cluster at {self.address} gave no answer to {command[0]!r}; the job said: "
                f"{_last_line(RuntimeError(self.log_of(job_id)))}; ADDRESS={self.address}"
            )
        finally:
            self._forget(job_id, is_answered=is_answered)

    def _forget(self, job_id: str, *, is_answered: bool) -> None:
        """Take a question off the cluster's list of jobs; one that goes on is ended first."""
        with contextlib.suppress(*_LOST):
            if not is_answered:
                self._client.stop_job(job_id)
            deadline = time.monotonic() + _FORGET_S
            while time.monotonic() < deadline:
                if self.has_ended(job_id):
                    self._client.delete_job(job_id)
                    return
                time.sleep(0.1)

    def _forget_older(self) -> None:
        """Take questions off the list that whoever asked them could not wait to see ended."""
        before_ms = (time.time() - _OLD_S) * 1000
        with contextlib.suppress(*_LOST):
            for job in self._client.list_jobs():
                is_ours = (job.metadata or {}) == _QUESTION and job.status.is_terminal()
                if is_ours and (job.end_time or before_ms) <= before_ms:
                    self._client.delete_job(job.submission_id)


def _pack(archive: Path) -> Upload | None:
    """Return what travels with a job: this checkout, or nothing where the cluster has a wheel."""
    root = Path(jobs.__path__[0]).parent
    if not (root / "pyproject.toml").is_file():
        return None
    return pack_checkout(root, archive)


def _hint(text: str) -> str:
    if "No available agent" in text:
        return (
            "; likely the head has just started, or another Ray on that machine has its agent's "
            "port (--dashboard-agent-listen-port of ray start)"
        )
    return ""


def _complaint(error: Exception) -> str:
    """Return what Ray found wrong, without its opening words that say as much as ours."""
    return str(error).strip().partition("\n")[0].partition(": ")[2].rstrip(".")


def _last_line(error: Exception) -> Any:
    """Return the line that says what happened: the last with a word, after Ray's traceback."""
    lines = [line.strip() for line in str(error).splitlines() if any(map(str.isalpha, line))]
    return lines[-1].rstrip(".") if lines else type(error).__name__
