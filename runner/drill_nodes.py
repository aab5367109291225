"""A Ray cluster of some nodes on this machine, for a game day; it ends with its process.

Runs in: driver.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence

from ray.cluster_utils import Cluster

#: Chosen: a dead node is known after 3 s instead of 14, so that a drill of it takes seconds.
_HEALTH = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
_STORE_BYTES = 200 * 2**20


@contextlib.contextmanager
def small_cluster(nodes: Sequence[int]) -> Iterator[Mapping[str, str]]:
    """Give the environment that leads to a cluster with these CPUs on each node.

    The head has no CPUs: workers never run on it, so a node may die without the head.
    """
    settings = {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
    os.environ.update(settings)  # Ray's servers take them from this process
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": _STORE_BYTES,
            "include_dashboard": False,
            "_system_config": _HEALTH,
        },
    )
    try:
        for cpus in nodes:
            cluster.add_node(num_cpus=cpus, object_store_memory=_STORE_BYTES)
        yield {**settings, "RAY_ADDRESS": str(cluster.address)}
    finally:
        cluster.shutdown()
