"""A Ray cluster of some nodes on this machine, for a game day; it ends with its process.

Runs in: driver.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray._private.authentication.authentication_token_setup import enable_token_auth_by_default
from ray.cluster_utils import Cluster

from runner.loopback import ensure_token

#: Chosen: a dead node is known after 3 s instead of 14, so that a drill of it takes seconds.
_HEALTH = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
_STORE_BYTES = 200 * 2**20
_SETTINGS = {"RAY_worker_niceness": "0"}


def start_cluster() -> Cluster:
    """Return a cluster of a head without CPUs: workers never run there, so any node may die."""
    os.environ.update(_SETTINGS)  # Ray's servers take them from this process
    ensure_token(os.environ, Path.home())
    enable_token_auth_by_default()  # as `ray.init` does; `Cluster` does not
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": _STORE_BYTES,
            "include_dashboard": False,
            "dashboard_port": port,  # another Ray on this machine may have the usual one
            "_system_config": _HEALTH,
        },
    )


def add_node(cluster: Cluster, cpus: int) -> Any:
    """Add a node with these CPUs; return what `remove_node` takes."""
    return cluster.add_node(num_cpus=cpus, object_store_memory=_STORE_BYTES)


def environment_of(cluster: Cluster) -> Mapping[str, str]:
    """Return the environment that leads a driver to the cluster."""
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    return {**_SETTINGS, "RAY_AUTH_MODE": mode, "RAY_ADDRESS": str(cluster.address)}


@contextlib.contextmanager
def small_cluster(nodes: Sequence[int]) -> Iterator[Mapping[str, str]]:
    """Give the environment that leads to a cluster with these CPUs on each node."""
    cluster = start_cluster()
    try:
        for cpus in nodes:
            add_node(cluster, cpus)
        yield environment_of(cluster)
    finally:
        cluster.shutdown()
