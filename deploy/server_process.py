"""A server of somebody else's as a child process: started, waited for, and ended.

Runs in: a terminal.
"""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

#: Chosen: Prometheus replays its write-ahead log first; a day of runs takes seconds.
_READY_S = 60.0
#: Chosen: both flush within a second; one that does not is stuck.
_STOP_S = 10.0
_POLL_S = 0.2


class Failed(Exception):
    """A server did not come up, or ended by itself; the message says which and why."""


class Server:
    """One server process: its name, its address, and a log file."""

    def __init__(
        self, name: str, url: str, command: list[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.url = url
        self.log = log
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in the terminal is for us, and we end them in order.
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    def check(self) -> None:
        """Make sure that it lives.

        Raises:
            Failed: it has ended.
        """
        code = self._process.poll()
        if code is not None:
            lines = self.log.read_text(errors="replace").splitlines()
            last = lines[-1] if lines else "it wrote nothing"
            raise Failed(f"{self.name} ended with {code}: {last} (all of it in {self.log})")

    def await_ready(self, path: str) -> None:
        """Return once it answers at `path`.

        Raises:
            Failed: it has ended, or does not answer in time.
        """
        deadline = time.monotonic() + _READY_S
        while True:
            self.check()
            try:
                with urllib.request.urlopen(self.url + path, timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > deadline:
                    raise Failed(
                        f"{self.name} did not answer at {self.url} within {_READY_S:.0f} s; "
                        f"its log is {self.log}"
                    ) from None
            time.sleep(_POLL_S)

    def close(self) -> None:
        """End it, politely first."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
