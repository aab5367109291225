"""Copies of memory checkpoints outlive the node of the worker that made them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from runner.packing import pack, unpack
from runner.state import StateInfo
from runner.watchdog_link import RayChannel
from watchdog.actor import NAMESPACE, start_watchdog
from watchdog.config import WatchdogConfig
from watchdog.tiers import RecoveryConfig

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
STORE_BYTES = 100 * 2**20


class Rank0:
    """A worker with a state of eight megabytes that gives copies away."""

    def __init__(self, watchdog: Any) -> None:
        self._channel = RayChannel(watchdog)

    def hold(self, step: int) -> tuple[int, ...]:
        info = StateInfo(step=step, generation=0, position=step, world_size=1, seed=0)
        return tuple(self._channel.hold(step, pack(state(step), info)))

    def room(self) -> int:
        return self._channel.copy_room_bytes()


def state(step: int) -> dict[str, torch.Tensor]:
    return {"w": torch.arange(2**21, dtype=torch.float32) + step}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": STORE_BYTES},
    )
    ray.init(address=cluster.address, namespace=NAMESPACE, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def eventually(question: Callable[[], Any], wanted: Any) -> None:
    deadline = time.monotonic() + 60
    while (answer := question()) != wanted:
        assert time.monotonic() < deadline, f"{answer} is not {wanted}"
        time.sleep(0.2)


def test_copies_outlive_the_node_and_a_restarted_watchdog_says_that_it_has_none(
    cluster: Cluster, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1, resources={"far": 1}, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    watchdog = start_watchdog("r", str(tmp_path), WatchdogConfig(port=0), RecoveryConfig())
    rank_0 = ray.remote(Rank0).options(resources={"far": 1}).remote(watchdog)
    assert ray.get(rank_0.room.remote()) == pytest.approx(STORE_BYTES / 2, rel=0.05)
    assert ray.get(rank_0.hold.remote(8)) == (8,)
    assert ray.get(rank_0.hold.remote(16)) == (8, 16)

    ray.kill(watchdog, no_restart=False)
    eventually(lambda: ray.get(watchdog.held_steps.remote()), ())
    assert ray.get(rank_0.hold.remote(24)) == (24,), "so the worker knows what to give again"
    assert ray.get(rank_0.hold.remote(16)) == (16, 24)

    cluster.remove_node(node, allow_graceful=False)
    eventually(lambda: sum(n["Alive"] for n in ray.nodes()), 1)
    assert ray.get(watchdog.held_steps.remote()) == (16, 24)
    tree, info = unpack(ray.get(watchdog.held.remote(24)))
    assert info.step == 24
    assert torch.equal(tree["w"], state(24)["w"])
