"""An elastic run on a cluster whose autoscaler brings a node, and that loses it again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.ray.heads import Head, head
from tests.ray.runs import Submitted

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

#: More than any machine takes before a node has come, settled and been grown into.
STEPS = 1_000_000
SPOT = {"spot": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1}}


def test_a_run_grows_with_a_node_it_asked_for_and_shrinks_with_one_that_is_lost(
    tmp_path: Path,
) -> None:
    wanted = f"train.max_steps={STEPS} watchdog.port=0 checkpoints.every_steps=200"
    options = ("--no-preflight", "--workers", "1-2", "--set", wanted, "--drill", "slow@step=1")
    with head(tmp_path, cpus=1, with_dashboard=False, worker_types=SPOT) as cluster:
        assert cluster.nodes() == [], "nobody has asked for one yet"
        run = Submitted(tmp_path, "elastic", *options, environment=cluster.environment)
        try:
            grew_at = run.wait_for_attempt(1, timeout_s=240)["step"]
            run.wait_for_step(grew_at + 50)
            [node] = cluster.nodes()
            os.kill(node, signal.SIGKILL)
            went_on_at = run.wait_for_attempt(2, timeout_s=240)["step"]
            run.wait_for_step(went_on_at + 50)
            run.interrupt()
            finished = run.finish()
        finally:
            run.close()
        wait_until_nodes_are_gone(cluster)
    assert finished.code == 130, finished.output
    sizes = [line["world_size"] for line in finished.ledger("attempt_started")]
    # The autoscaler replaces the node; a slow machine has time to grow once more before it stops.
    assert sizes[:3] == [1, 2, 1]
    grown, lost, *_, last = finished.ledger("attempt_ended")
    assert (grown["outcome"], lost["outcome"], last["outcome"]) == (
        "resized",
        "worker_died",
        "stopped",
    )
    assert finished.ledger("attempt_started")[1]["step"] == grown["step"], "growth loses no step"
    restarts = [line for line in finished.ledger("verdict") if line["action"] == "restart"]
    # The worker's own line may break before Ray tells that its node is lost.
    assert [line["cause"] in ("node_lost", "crash") for line in restarts] == [True]
    reports = [line for line in finished.trace("step") if line["rank"] == 0]
    assert {line["lr"] for line in reports if line["step"] == 50} == {
        line["scheduled_lr"] for line in reports if line["step"] == 50
    }
    by_step: dict[tuple[int, int], list[int]] = {}
    for line in finished.trace("step"):
        by_step.setdefault((line["attempt"], line["step"]), []).append(line["samples"])
    # What a rank had not sent when its node was killed is lost.
    whole = [shares for (attempt, _), shares in by_step.items() if len(shares) == sizes[attempt]]
    assert len(whole) > 0.9 * len(by_step)
    assert {sum(shares) for shares in whole} == {32}, "the batch of a step is the same at any size"


def wait_until_nodes_are_gone(cluster: Head) -> None:
    """Return once the autoscaler took back what the run had asked for."""
    deadline = time.monotonic() + 90
    while cluster.nodes():
        assert time.monotonic() < deadline, "the request for room outlived the run"
        time.sleep(0.2)
