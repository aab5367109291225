"""Runs the checks in a process of their own, from the driver.

A check that kills its process (out of memory, a fault in a library) or hangs is a finding; the ones
after it run in another process.

Runs in: driver.
"""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from runner.preflight.findings import Finding, Preflight, failed, finding_from_json, warned
from runner.preflight.request import Request
from watchdog.redaction import redact

if TYPE_CHECKING:
    from runner.job import Job  # imports torch

#: Chosen: every check has its own budget of some seconds; this is for one that does not keep it.
_LIMIT_S = 120.0
#: Chosen: after as many crashes the machine is at fault, not a check.
_MOST_CRASHES = 3

Told = Callable[[str], None]


def run_preflight(
    job: Job,
    run_dir: Path,
    *,
    lr_range: bool = False,
    tell: Told = lambda title: None,
    limit_s: float = _LIMIT_S,
) -> Preflight:
    """Return the findings of all checks; `tell` is called with the title of each as it begins."""
    started = time.perf_counter()
    talk = _Talk(tell)
    for _ in range(_MOST_CRASHES):
        request = Request(job, run_dir, frozenset(talk.begun), lr_range)
        talk.running = ""
        crash = _run_child(request, talk, limit_s)
        if crash is None:
            break
        talk.findings.append(replace(crash, check=talk.running or "start", title=talk.title))
        if not talk.running:
            break  # it died before any check began, and would do so again
    return Preflight(job.spec.name, tuple(talk.findings), time.perf_counter() - started)


class _Talk:
    """What the processes have said so far."""

    def __init__(self, tell: Told) -> None:
        self.findings: list[Finding] = []
        self.begun: list[str] = []
        self.running, self.title = "", "start"
        self.has_ended = False
        self._tell = tell

    def take(self, line: dict[str, Any]) -> None:
        """Take one line in."""
        if "begins" in line:
            self.running, self.title = line["begins"], line["title"]
            self.begun.append(self.running)
            self._tell(self.title)
        elif "findings" in line:
            found = map(finding_from_json, line["findings"])
            # What a check found may quote an exception of the job's code.
            self.findings.extend(replace(f, text=redact(f.text)) for f in found)
        else:
            self.has_ended = True


def _run_child(request: Request, talk: _Talk, limit_s: float) -> Finding | None:
    """Run one process to its end; return the finding if it crashed."""
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "runner.preflight"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        watch = _Watch(child, limit_s)
        try:
            with child.stdin:
                child.stdin.write(pickle.dumps(request))
            for line in child.stdout:
                watch.kick()
                talk.take(json.loads(line))
        except BaseException:
            child.kill()
            raise
        finally:
            watch.close()
            child.stdout.close()
            code = child.wait()
        return None if talk.has_ended else _crash(code, watch, _tail(errors))


class _Watch:
    """Kills the process when it says nothing for too long."""

    def __init__(self, child: subprocess.Popen[bytes], limit_s: float) -> None:
        self._child = child
        self.limit_s = limit_s
        self.has_killed = False
        self._timer = self._start()

    def _start(self) -> threading.Timer:
        timer = threading.Timer(self.limit_s, self._kill)
        timer.daemon = True
        timer.start()
        return timer

    def _kill(self) -> None:
        self.has_killed = True
        self._child.kill()

    def kick(self) -> None:
        """Begin to count anew."""
        self._timer.cancel()
        self._timer = self._start()

    def close(self) -> None:
        """Count no more."""
        self._timer.cancel()


def _crash(code: int, watch: _Watch, tail: str) -> Finding:
    said = f"; its last line: {tail}" if tail else ""
    if watch.has_killed:
        return warned(
            f"the check said nothing for {watch.limit_s:g} s and was ended{said}",
            "a run may hang at the same place; try it with WORKERS=0",
        )
    how = f"ended with code {code}"
    if code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
    hint = "memory ran out, probably; see the memory check" if code == -signal.SIGKILL else ""
    return failed(
        f"the process of the check {how}{said}",
        hint or "a library crashes on this job; try it with WORKERS=0",
    )


def _tail(errors: IO[bytes]) -> str:
    """Return the last line that is not empty."""
    errors.seek(0)
    lines = redact(errors.read()[-4000:].decode("utf-8", errors="replace")).splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
