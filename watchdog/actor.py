"""The watchdog as a named Ray actor that outlives the driver and restarts from its own files.

Copies of memory checkpoints lie in Ray's object store, mapped by this actor, so that they outlive
the worker that made them.

Runs in: watchdog actor.
"""

from __future__ import annotations

from typing import Any

import ray

from watchdog.config import WatchdogConfig
from watchdog.host import WatchdogHost

NAMESPACE = "watchkeeper"


def actor_name(run_id: str) -> str:
    """Return the name under which a run's watchdog is found in the cluster."""
    return f"watchdog-{run_id}"


def start_watchdog(run_id: str, run_dir: str, config: WatchdogConfig) -> Any:
    """Return the handle of the run's watchdog actor, started if it is not there yet.

    It takes no CPU, sits on the head node where there is one, and Ray restarts it for ever: its
    state is in the run's folder.
    """
    on_head = {"node:__internal_head__": 0.001}
    has_head = "node:__internal_head__" in ray.cluster_resources()
    actor_class = ray.remote(WatchdogHost)
    return actor_class.options(
        name=actor_name(run_id),
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=-1,
        num_cpus=0,
        resources=on_head if has_head else None,
    ).remote(run_dir, config)
