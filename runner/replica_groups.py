"""Has Ray Train start anew what died, within one job: a single worker, or all of them.

For a single one there is a hook that is not documented. Ray's TorchFT backend calls each worker a
replica group; Ray then starts a dead one anew in its old place and leaves the others alone. Any
backend may say that of itself. All of them Ray starts anew when it may retry, which spares the
start of a new controller. And a trainer without data sets of Ray's needs no actor for them.

Everything that leans on this is here, and used with the versions of Ray it was tested with only.

Whether a death is worth it is not Ray's to decide: its budget is set out of reach, and a callback
asks the roll call, which has the run's own.

Runs in: driver, and Ray Train's controller.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from runner.worker_deaths import Death, death_of, first_line
from watchdog.actor import NAMESPACE
from watchdog.tiers import Renewal

_log = logging.getLogger(__name__)

#: Versions of Ray with which the tests of tests/ray/test_tiers.py have passed.
TESTED_RAY = ("2.60.0",)

#: Chosen: the roll call decides within recovery.gather_s or two; beyond this it is not there.
_PATIENCE_S = 120.0
_ASK_AGAIN_S = 0.02
#: Chosen: an actor that is to go and does not answer for so long (s) is not waited for.
_CLEANER_S = 0.5


class _OwnGroups(Backend):  # type: ignore[misc]  # Ray's classes have no types
    """The training function makes its process groups itself; Ray has nothing to set up."""

    share_cuda_visible_devices = True


class _ReplicaGroups(_OwnGroups):
    has_replica_groups = True


@dataclass
class GroupConfig(BackendConfig):  # type: ignore[misc]
    """Ray Train's part in the process groups: none."""

    renewal: Renewal = Renewal.NOTHING

    @property
    def backend_cls(self) -> type[Backend]:
        """Return the backend of this configuration."""
        return _ReplicaGroups if self.renewal is Renewal.SINGLE else _OwnGroups


class LeanTrainer(DataParallelTrainer):  # type: ignore[misc]
    """Ray Train's trainer without its part for data sets, and without a wait at the end.

    What a job trains on is its own; the actor and the import for data sets cost each start some two
    seconds. The actor that takes a dead controller's workers away is told to go at the end; where
    the dashboard is still starting up it answers after twelve seconds only, which nobody needs.
    """

    def _create_default_callbacks(self) -> list[Any]:
        dropped = (DatasetsCallback, PlacementGroupCleanerCallback)
        kept = [c for c in super()._create_default_callbacks() if not isinstance(c, dropped)]
        return [*kept, PlacementGroupCleanerCallback(stop_timeout=_CLEANER_S)]


def trainer_class() -> type[DataParallelTrainer]:
    """Return the trainer for this version of Ray."""
    return LeanTrainer if ray.__version__ in TESTED_RAY else DataParallelTrainer


def failure_config(renewal: Renewal) -> FailureConfig:
    """Return Ray's limits: none of them decides anything."""
    return FailureConfig(
        max_failures=0 if renewal is Renewal.NOTHING else 10**9,
        controller_failure_limit=0,
        max_preemption_failures=0,
    )


class WorkersGone(RuntimeError):
    """Workers died and nobody is wanted in their place; raised in Ray's controller."""

    def __init__(self, message: str, is_node_lost: bool) -> None:
        super().__init__(message, is_node_lost)  # what an exception is pickled by
        self.message = message
        self.is_node_lost = is_node_lost


class Turnstile(WorkerGroupCallback):  # type: ignore[misc]  # Ray's class has no types
    """Tells the roll call of deaths that Ray found; stops Ray when nothing is to be renewed."""

    def __init__(self, watchdog: str, group: int) -> None:
        self._watchdog = watchdog
        self._group = group

    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:
        """Let Ray go on to start the failed workers anew, or end its job.

        Raises:
            WorkersGone: the roll call wants nobody in their place.
        """
        errors = dict(worker_group_status.errors)
        if not errors:
            return
        allowed = None
        deadline = time.monotonic() + _PATIENCE_S
        while allowed is None and time.monotonic() < deadline:
            try:
                allowed = self._ask(errors)
            except ray.exceptions.RayError as error:
                _log.warning("the watchdog does not answer: %s", error)
            time.sleep(0 if allowed is not None else _ASK_AGAIN_S)
        if not allowed:
            deaths = {number: _as_death(error) for number, error in errors.items()}
            raise WorkersGone(
                "; ".join(f"worker {n} died: {death.detail}" for n, death in deaths.items()),
                any(death.is_node_lost for death in deaths.values()),
            )

    def _ask(self, errors: dict[int, BaseException]) -> bool | None:
        watchdog = ray.get_actor(self._watchdog, namespace=NAMESPACE)
        for number, error in errors.items():
            death = _as_death(error)
            told = watchdog.worker_died.remote(
                self._group, number, death.detail, death.is_node_lost
            )
            ray.get(told, timeout=5.0)
        answer: bool | None = ray.get(watchdog.may_renew.remote(self._group), timeout=5.0)
        return answer


def _as_death(error: BaseException) -> Death:
    """Return how a worker ended; Ray counts one that raised among the dead."""
    return death_of(error) or Death(first_line(error), is_node_lost=False)
