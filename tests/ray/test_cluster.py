"""On a cluster that outlives the driver: runs are seen, kept and resumed from elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ray.heads import Head, head
from tests.ray.runs import PYTHON, Finished, Submitted

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

SETTINGS = ("--set", "train.max_steps=1500 watchdog.port=0")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    # As an operator sets it up: whoever talks to the cluster shows its token.
    with head(tmp_path_factory.mktemp("head"), cpus=3, asks_for_token=True) as made:
        yield made


def test_the_watchdog_survives_its_driver_and_the_run_is_resumed(
    tmp_path: Path, cluster: Head
) -> None:
    environment = cluster.environment
    # Slow from where the test looks on, so that it is still under way then.
    options = (*SETTINGS, "--drill", "slow@step=131,factor=20")
    run = Submitted(tmp_path / "runs", "orphan", *options, environment=environment)
    run.wait_for_step(130)
    [target_file] = (tmp_path / "runs" / ".prometheus").glob("*.json")
    target = target_file.read_text().split('"targets": ["')[1].split('"')[0]
    run.process.kill()
    run.process.communicate()
    metrics = _metrics(target)
    assert 'training_step{run="orphan",training_job="template"}' in metrics
    resumed = Submitted(tmp_path / "runs", "orphan", command="resume", environment=environment)
    finished = resumed.finish(240)
    assert finished.code == 0, finished.output
    assert finished.result["step"] == 1500
    started = finished.ledger("attempt_started")
    assert len(started) == 2
    assert started[1]["step"] >= 100


def test_a_run_that_waits_for_room_obeys_a_stop(tmp_path: Path, cluster: Head) -> None:
    options = (*SETTINGS, "--workers", "16")
    run = Submitted(tmp_path / "runs", "queued", *options, environment=cluster.environment)
    try:
        run.wait_for_record("room_awaited")
        run.interrupt()
        finished = run.finish()
    finally:
        run.close()
    assert finished.code == 130, finished.output
    assert (finished.result["state"], finished.result["step"]) == ("stopped", 0)
    assert finished.ledger("incident_opened") == [], "a queue is no failure"


def _metrics(target: str) -> str:
    with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


class Laptop:
    """A shell elsewhere: it has the cluster's address and nothing else of it."""

    def __init__(self, folder: Path, cluster: Head) -> None:
        self.runs_dir = folder / "there"
        self._address = cluster.dashboard
        self._environment = {k: v for k, v in cluster.environment.items() if k != "RAY_ADDRESS"}

    def start(self, command: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a command about the cluster."""
        options = ["--address", self._address, "--runs-dir", str(self.runs_dir)]
        return subprocess.Popen(
            [*PYTHON, command, *arguments, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **self._environment},
        )

    def say(self, command: str, *arguments: str) -> str:
        """Return what a command about the cluster prints."""
        process = self.start(command, *arguments)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        return output

    def wait_for_step(self, run: str, step: int, attempts: int = 1) -> None:
        """Wait until a run has checkpoints so far in its newest attempt."""
        ledger = self.runs_dir / run / "ledger.jsonl"
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline:
            if ledger.exists():
                text = ledger.read_text()
                found = [json.loads(line) for line in text.splitlines()[: text.count("\n")]]
                starts = [i for i, line in enumerate(found) if line["kind"] == "attempt_started"]
                saved = [line["step"] for line in found if line["kind"] == "checkpoint_saved"]
                if len(starts) >= attempts and max(saved, default=0) >= step:
                    return
            time.sleep(0.2)
        raise AssertionError(f"step {step} of run {run} did not come in 150 s")


def test_a_run_lives_on_a_cluster_and_a_driver_that_is_killed_is_followed_by_another(
    tmp_path: Path, cluster: Head
) -> None:
    laptop = Laptop(tmp_path, cluster)
    endless = ("--set", "train.max_steps=1000000 checkpoints.every_steps=100", "--follow", "0")
    sent = laptop.say("submit", "--job", "template", "--run", "kept", "--no-preflight", *endless)
    assert "run kept is driven on the cluster" in sent
    laptop.wait_for_step("kept", 100)
    follower = laptop.start("logs", "kept", "--follow")
    folder = laptop.runs_dir / "kept"
    driver = json.loads((folder / "driver.lock").read_text())["pid"]
    os.kill(driver, signal.SIGKILL)
    laptop.wait_for_step("kept", 200, attempts=2)
    [row] = [row for row in json.loads(laptop.say("list", "--json")) if row["run"] == "kept"]
    assert (row["state"], row["job"]) == ("running", "template")
    assert "is stopped at step" in laptop.say("stop", "kept")
    followed, _ = follower.communicate(timeout=60)
    assert "stopped on request at step" in followed, "the log goes on with the second driver"
    report = Path(laptop.say("report", "kept").removeprefix("report: ").strip())
    assert "kept" in report.read_text()
    report.unlink()
    kept = Finished(folder, 0, "")
    first, second = kept.ledger("attempt_started")
    assert first["step"] == 0
    assert second["step"] >= 100, "the second driver goes on from the ledger"
