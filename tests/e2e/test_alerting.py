"""`make monitoring` beside real runs: who is paged, how soon, and that nobody is for nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.servers import REPOSITORY, need, wait_until
from tests.ray.runs import descendants

pytestmark = pytest.mark.server


class Monitoring:
    """The command in a process of its own; `said` are (Unix s, line)."""

    def __init__(self, runs: Path) -> None:
        command = [sys.executable, "-m", "deploy.local", "--runs-dir", str(runs)]
        # Ports that are taken give way to free ones; the test's are as good as taken.
        command += ["--port", "0", "--alertmanager-port", "0"]
        self.said: list[tuple[float, str]] = []
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append((time.time(), line.rstrip("\n")))

    def has_said(self, text: str) -> bool:
        return any(text in line for _, line in self.said)

    def told(self, run: str) -> list[str]:
        """Return what was said of a run: `page TrainingRunHalted`."""
        pattern = re.compile(rf"(page|ticket): (\w+): .*\b{re.escape(run)}\b")
        found = (pattern.search(line) for _, line in self.said)
        return [f"{match[1]} {match[2]}" for match in found if match is not None]

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit code."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(timeout=30)
        self._reader.join()
        return code

    def servers(self) -> list[int]:
        """Return the process ids of its servers."""
        return descendants(self._process.pid)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=30)
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def monitoring(runs: Path) -> Iterator[Monitoring]:
    need("prometheus")
    need("prometheus-alertmanager")
    runs.mkdir()
    started = Monitoring(runs)
    yield started
    started.close()


def submit(runs: Path, run: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Train the template job in one process, with its metrics on any free port."""
    command = [sys.executable, "-m", "runner", "submit", "--job", "template", "--run", run]
    command += ["--no-preflight"]
    command += ["--workers", "0", "--runs-dir", str(runs), "--set"]
    return subprocess.run(
        [
            *command,
            "watchdog.port=0 train.max_steps=12000 train.lr=0.001 train.threads=1",
            *options,
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_halted_run_pages_once_and_in_time_and_a_healthy_one_never(
    monitoring: Monitoring, runs: Path
) -> None:
    wait_until(lambda: monitoring.has_said("Ctrl-C ends all"), "the servers are up")
    assert monitoring.has_said("Prometheus    http://127.0.0.1:")
    assert monitoring.has_said("are printed here. WEBHOOK=")
    healthy = submit(runs, "healthy")
    assert healthy.returncode == 0, healthy.stderr
    # Over within a second or two, so that it may end before it was scraped for the first time.
    halted = submit(runs, "halted", "--drill", "exception@step=200,times=99")
    assert halted.returncode == 3, halted.stderr
    lines = (runs / "halted" / "ledger.jsonl").read_text().splitlines()
    ended_s = json.loads(lines[-1])["t_s"]
    wait_until(lambda: monitoring.told("halted") != [], "the page arrives", 60.0)
    paged_s = next(t for t, line in monitoring.said if "page: TrainingRunHalted" in line)
    sys.stdout.write(f"from the halt to the page {paged_s - ended_s:.1f} s\n")
    wait_until(lambda: monitoring.has_said("the dead man's switch arrived"), "the heartbeat")
    servers = monitoring.servers()
    assert len(servers) == 2
    assert monitoring.interrupt() == 0
    assert monitoring.told("halted") == ["page TrainingRunHalted"]
    assert monitoring.told("healthy") == []
    assert [pid for pid in servers if _lives(pid)] == []


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
