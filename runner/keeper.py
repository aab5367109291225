"""Stands behind the driver on a cluster: one that was killed is followed by one that resumes.

On one's own machine a person resumes. A run that was submitted to a cluster has nobody beside it,
so the job that Ray runs there is this process, with the driver as its child. A driver that ends by
itself, whatever its exit code, is not followed by another; one that a signal took is, as often as
`MOST_RESUMES` says, with a growing pause, so that a driver that dies at once is not a loop.

Runs in: driver (its parent on the cluster's head node).
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

_log = logging.getLogger(__name__)

#: Chosen: a driver dies with its node, by a person or for want of memory; none of these is cured
#: by a fifth try.
MOST_RESUMES = 4
#: Chosen: the pause before the first resume (s); each further one waits twice as long.
_PAUSE_S = 1.0

Start = Callable[[Sequence[str]], int]


class Keeper:
    """Runs a driver and those that follow it; `start` runs `python -m runner` and waits."""

    def __init__(self, start: Start, sleep: Callable[[float], None] = time.sleep) -> None:
        self._start = start
        self._sleep = sleep
        self._is_stopping = False

    def stop(self) -> None:
        """Start no further driver: somebody wants the run to end."""
        self._is_stopping = True

    def keep(self, submit: Sequence[str], resume: Sequence[str]) -> int:
        """Run `submit`, and `resume` while a signal takes the driver; return the exit code."""
        code = self._start(submit)
        for resumes in range(MOST_RESUMES):
            if code >= 0 or self._is_stopping:
                break
            pause_s = _PAUSE_S * 2**resumes
            _log.warning("the driver was killed by signal %d; resuming in %g s", -code, pause_s)
            self._sleep(pause_s)
            code = self._start(resume)
        return code if code >= 0 else 1


def keep(submit: Sequence[str], resume: Sequence[str]) -> int:
    """Keep a run on this machine. Ray ends a job by a SIGTERM to parent and child alike."""
    keeper = Keeper(_start)

    def stop(number: int, frame: FrameType | None) -> None:
        keeper.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return keeper.keep(submit, resume)


def _start(command: Sequence[str]) -> int:
    return subprocess.Popen([sys.executable, "-u", "-m", "runner", *command]).wait()
