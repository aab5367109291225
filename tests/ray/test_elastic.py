"""A simulated cluster whose nodes come and go under a run of one to three workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.drill_nodes import add_node, environment_of, start_cluster
from tests.ray.runs import Submitted

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # Ray leaves sockets open while it looks for ports
]

#: More than any machine takes before a node has come, settled and been grown into.
STEPS = 1_000_000


@pytest.fixture
def cluster() -> Iterator[Any]:
    made = start_cluster()
    try:
        yield made
    finally:
        made.shutdown()


def test_a_run_shrinks_with_a_node_that_is_lost_and_grows_with_one_that_comes(
    tmp_path: Path, cluster: Any
) -> None:
    nodes = [add_node(cluster, 1) for _ in range(2)]
    wanted = f"train.max_steps={STEPS} watchdog.port=0 checkpoints.every_steps=500"
    options = ("--no-preflight", "--workers", "1-3", "--set", wanted, "--drill", "slow@step=1")
    run = Submitted(tmp_path, "elastic", *options, environment=environment_of(cluster))
    try:
        run.wait_for_step(100, timeout_s=180)
        cluster.remove_node(nodes[1])
        run.wait_for_attempt(1, timeout_s=180)
        add_node(cluster, 1)
        grew_at = run.wait_for_attempt(2, timeout_s=240)["step"]
        run.wait_for_step(grew_at + 50)
        run.interrupt()
        finished = run.finish()
    finally:
        run.close()
    assert finished.code == 130, finished.output
    sizes = [line["world_size"] for line in finished.ledger("attempt_started")]
    assert sizes == [2, 1, 2]
    lost, grown, last = finished.ledger("attempt_ended")
    assert (lost["outcome"], grown["outcome"], last["outcome"]) == (
        "worker_died",
        "resized",
        "stopped",
    )
    assert finished.ledger("attempt_started")[2]["step"] == grown["step"], "growth loses no step"
    restarts = [line for line in finished.ledger("verdict") if line["action"] == "restart"]
    assert [line["cause"] for line in restarts] == ["crash"]
    reports = [line for line in finished.trace("step") if line["rank"] == 0]
    assert {line["lr"] for line in reports if line["step"] == 50} == {
        line["scheduled_lr"] for line in reports if line["step"] == 50
    }
    by_step: dict[tuple[int, int], int] = {}
    for line in finished.trace("step"):
        key = (line["generation"], line["step"])
        by_step[key] = by_step.get(key, 0) + line["samples"]
    assert set(by_step.values()) == {32}, "the batch of a step is the same at any size"
