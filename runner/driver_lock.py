"""One driver a run: a lock that dies with its process, and the request to stop.

The kernel releases an flock when the driver dies, however it dies, so a crashed run is never
locked and a living one cannot be driven twice. The file is never deleted: a new file would be a
second lock.

Runs in: driver.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from runner.runs import RunFolder
from watchdog.errors import RunLocked

#: Chosen: `is_driven` holds the lock for microseconds, which must not look like a second driver.
_TRIES = 5
_PAUSE_S = 0.02


@contextmanager
def driver_lock(run: RunFolder, *, t_s: float) -> Iterator[None]:
    """Hold the run for this process; `t_s` (Unix seconds) is written beside the process id.

    Raises:
        RunLocked: another driver holds the run.
    """
    handle = os.open(run.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not take_lock(handle):
            raise RunLocked(locked_sentence(run))
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "started_t_s": t_s}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
        yield
    finally:
        # Closing releases the lock; the text stays, for whoever asks who was here.
        os.close(handle)


def is_driven(run: RunFolder) -> bool:
    """Whether a living driver holds the run."""
    try:
        handle = os.open(run.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return True
        raise
    else:
        return False
    finally:
        os.close(handle)


def holder(run: RunFolder) -> dict[str, Any]:
    """Return `pid`, `host` and `started_t_s` of the last driver; empty when there was none."""
    try:
        found = json.loads(run.lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def locked_sentence(run: RunFolder) -> str:
    """Return the sentence that names the process which drives the run."""
    who = holder(run)
    return (
        f"run {run.run_id} is driven by process {who.get('pid', 'unknown')} on "
        f"{who.get('host', 'an unknown host')}; `make stop RUN={run.run_id}` ends that one, "
        f"`make logs RUN={run.run_id}` follows it"
    )


def request_stop(run: RunFolder) -> None:
    """Ask the driver to stop: it polls for this file."""
    run.stop_file.touch()


def clear_stop(run: RunFolder) -> None:
    """Take a request to stop back, once it was obeyed or is out of date."""
    run.stop_file.unlink(missing_ok=True)


def wait_until_free(
    run: RunFolder,
    timeout_s: float,
    *,
    poll_s: float = 0.2,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Return whether the driver let go of the run within `timeout_s` seconds."""
    waited_s = 0.0
    while is_driven(run):
        if waited_s >= timeout_s:
            return False
        sleep(poll_s)
        waited_s += poll_s
    return True


def take_lock(handle: int) -> bool:
    """Lock an open file for this process; return whether nobody else holds it."""
    for attempt in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt < _TRIES - 1:
                time.sleep(_PAUSE_S)
        else:
            return True
    return False
