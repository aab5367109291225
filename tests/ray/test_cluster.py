"""On a cluster that outlives the driver: the watchdog stays, and a resume finds it again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.ray.runs import Submitted, descendants

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """Start a head node on loopback, give the environment that leads to it, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": "/tmp"}
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
    command += [f"--port={port}", "--num-cpus=3", "--node-ip-address=127.0.0.1"]
    command += ["--include-dashboard=false", "--disable-usage-stats"]
    command += ["--object-store-memory=300000000"]
    with (tmp_path / "ray.log").open("w") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        try:
            _wait_for(port, head)
            yield {**environment, "RAY_ADDRESS": f"127.0.0.1:{port}"}
        finally:
            _end(head)


def _end(head: subprocess.Popen[bytes]) -> None:
    """End the head node and every process it started, by their ids."""
    family = descendants(head.pid)
    head.terminate()
    try:
        head.wait(timeout=5)
    except subprocess.TimeoutExpired:  # `ray start --block` may wait for its own children for ever
        head.kill()
        head.wait()
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _wait_for(port: int, head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert head.poll() is None, "ray start ended early"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the head node did not come up in 60 s")


def test_the_watchdog_survives_its_driver_and_the_run_is_resumed(
    tmp_path: Path, cluster: Mapping[str, str]
) -> None:
    settings = ("--set", "train.max_steps=3000 watchdog.port=0")
    run = Submitted(tmp_path / "runs", "orphan", *settings, environment=cluster)
    run.wait_for_step(130)
    [target_file] = (tmp_path / "runs" / ".prometheus").glob("*.json")
    target = target_file.read_text().split('"targets": ["')[1].split('"')[0]
    run.process.kill()
    run.process.communicate()
    metrics = _metrics(target)
    assert 'training_step{run="orphan",training_job="template"}' in metrics
    resumed = Submitted(tmp_path / "runs", "orphan", command="resume", environment=cluster).finish(
        240
    )
    assert resumed.code == 0, resumed.output
    assert resumed.result["step"] == 3000
    started = resumed.ledger("attempt_started")
    assert len(started) == 2
    assert started[1]["step"] >= 100


def _metrics(target: str) -> str:
    with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text
