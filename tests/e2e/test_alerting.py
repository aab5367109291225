"""A real run, a real Prometheus, a real Alertmanager: who is paged, and how soon."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.servers import REPOSITORY, Alertmanager, Prometheus, need, wait_until

pytestmark = pytest.mark.server


class Sink:
    """Receives what Alertmanager sends; `notes` are (Unix s, path, alert name, run)."""

    def __init__(self) -> None:
        notes: list[tuple[float, str, str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for alert in json.loads(body)["alerts"]:
                    labels = alert["labels"]
                    if alert["status"] == "firing":
                        run = labels.get("run", "")
                        notes.append((time.time(), self.path, labels["alertname"], run))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.notes = notes
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def names(self, path: str, run: str) -> list[str]:
        return [name for _, at, name, of in self.notes if (at, of) == (path, run)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    opened = Sink()
    yield opened
    opened.close()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a runs folder whose list of targets Prometheus reads."""
    folder = tmp_path / "runs"
    (folder / ".prometheus").mkdir(parents=True)
    (tmp_path / "targets").symlink_to(folder / ".prometheus")
    return folder


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
    tmp_path: Path, runs: Path, sink: Sink
) -> None:
    need("prometheus-alertmanager")
    alertmanager = Alertmanager(tmp_path, sink.port)
    prometheus = Prometheus(tmp_path, interval="5s", alertmanager=alertmanager.target)
    try:
        wait_until(lambda: prometheus.query("vector(1)") != [], "Prometheus serves")
        healthy = submit(runs, "healthy")
        assert healthy.returncode == 0, healthy.stderr
        # Slow at first: a run that is over before it was scraped once pages nobody.
        drill = "slow@step=1,factor=30;exception@step=800,times=99"
        halted = submit(runs, "halted", "--drill", drill)
        assert halted.returncode == 3, halted.stderr
        lines = (runs / "halted" / "ledger.jsonl").read_text().splitlines()
        ended_s = json.loads(lines[-1])["t_s"]
        wait_until(lambda: sink.names("/page", "halted") != [], "the page arrives", 60.0)
        wait_until(lambda: sink.names("/heartbeat", "") != [], "the heartbeat arrives")
    finally:
        prometheus.close()
        alertmanager.close()
    paged_s = next(t for t, path, _, run in sink.notes if (path, run) == ("/page", "halted"))
    sys.stdout.write(f"from the halt to the page {paged_s - ended_s:.1f} s\n")
    assert sink.names("/page", "halted") == ["TrainingRunHalted"]
    assert sink.names("/page", "healthy") == []
    assert sink.names("/tickets", "healthy") == []
    assert set(sink.names("/heartbeat", "")) == {"TrainingDeadMansSwitch"}
