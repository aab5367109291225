"""Real servers for tests: on free loopback ports, in temporary folders, stopped by who started."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "deploy" / "prometheus" / "prometheus.yml"
PATIENCE_S = 30.0


def need(program: str) -> str:
    """Return the path of a Debian program; without it skip, and fail where CI promised it."""
    path = shutil.which(program)
    if path is None and os.environ.get("CI"):
        pytest.fail(f"{program} is missing; CI installs it with: make setup-servers")
    if path is None:
        pytest.skip(f"{program} is missing; install it with: make setup-servers")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bytes(answer.read())


class Server:
    """A server of the test's own, on a free loopback port; `log` is what it wrote."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log.open("wb")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        self._log.close()


class Prometheus(Server):
    """Prometheus with our configuration; `interval` is that of its scrapes and evaluations."""

    def __init__(self, folder: Path, *, interval: str = "1s") -> None:
        self._url = f"http://127.0.0.1:{free_port()}"
        rules = folder / "rules"
        rules.mkdir()
        for rule_file in (CONFIG.parent / "rules").glob("*.yml"):
            text = rule_file.read_text().replace("interval: 5s", f"interval: {interval}")
            (rules / rule_file.name).write_text(text)
        text = CONFIG.read_text().replace("../../runs/.prometheus", str(folder / "targets"))
        text = text.replace(": 5s", f": {interval}").replace("127.0.0.1:9093", "127.0.0.1:9")
        config = folder / "prometheus.yml"
        config.write_text(text)
        command = [
            need("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={self._url.removeprefix('http://')}",
        ]
        super().__init__(command, folder / "prometheus.log")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query; none while the server is starting."""
        query = urllib.parse.urlencode({"query": expression})
        try:
            answer = json.loads(get(f"{self._url}/api/v1/query?{query}"))
        except urllib.error.URLError:
            return []
        assert answer["status"] == "success"
        return list(answer["data"]["result"])

    def value(self, expression: str) -> float | None:
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None


def wait_until(claim: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not claim():
        assert time.monotonic() < deadline, f"{what}: not within {patience_s} s"
        time.sleep(0.2)
