"""The watchdog as a named Ray actor that outlives the driver and restarts from its own files.

Copies of memory checkpoints lie in Ray's object store, mapped by this actor, so that they outlive
the worker that made them.

Runs in: watchdog actor.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import ray

from watchdog.config import WatchdogConfig
from watchdog.host import WatchdogHost
from watchdog.tiers import RecoveryConfig, Renewal

NAMESPACE = "watchkeeper"


def actor_name(run_id: str, run_dir: str) -> str:
    """Return the name under which a run's watchdog is found in the cluster.

    A cluster may have runs of one name in several folders; what tells them apart is the folder.
    """
    folder = hashlib.sha256(os.path.realpath(run_dir).encode()).hexdigest()
    return f"watchdog-{run_id}-{folder[:8]}"


class NodeWatchdogHost(WatchdogHost):
    """The watchdog where other nodes reach it: its lifelines end at this node's address."""

    def __init__(
        self,
        run_dir: str,
        config: WatchdogConfig,
        recovery: RecoveryConfig,
        *,
        renewal: Renewal,
    ) -> None:
        super().__init__(
            run_dir,
            config,
            recovery,
            address=ray.util.get_node_ip_address(),
            renewal=renewal,
        )


def start_watchdog(
    run_id: str,
    run_dir: str,
    config: WatchdogConfig,
    recovery: RecoveryConfig,
    *,
    renewal: Renewal = Renewal.NOTHING,
) -> Any:
    """Return the handle of the run's watchdog actor, started if it is not there yet.

    It takes no CPU, sits on the head node where there is one, and Ray restarts it for ever: its
    state is in the run's folder.
    """
    on_head = {"node:__internal_head__": 0.001}
    has_head = "node:__internal_head__" in ray.cluster_resources()
    actor_class = ray.remote(NodeWatchdogHost)
    return actor_class.options(
        name=actor_name(run_id, run_dir),
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=-1,
        num_cpus=0,
        resources=on_head if has_head else None,
    ).remote(run_dir, config, recovery, renewal=renewal)
