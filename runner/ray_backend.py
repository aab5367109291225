"""Runs attempts as Ray Train jobs. Ray's own retries are all off: the supervisor owns restarts.

Runs in: driver (and `_train_loop` in each worker).
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from runner.backend import AttemptResult, outcome_of
from runner.device import Placement, choose_autocast
from runner.job import Job
from runner.local_backend import to_result
from runner.recovery import AttemptPlan
from runner.spec import worker_bounds
from runner.watchdog_link import Watchdog, ray_channel, remote_watchdog
from runner.worker import AttemptReturn, run_attempt
from watchdog.actor import NAMESPACE, actor_name, start_watchdog
from watchdog.records import Outcome

_log = logging.getLogger(__name__)

#: Chosen: a collective that waits longer is taken for dead; the longest validation fits in it.
_COLLECTIVE_TIMEOUT_S = 600

#: Settings of Ray that have no other door; what the user set stays.
_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # seconds until a dead worker is noticed
    "RAY_worker_niceness": "0",  # the default 15 starves training under any other load
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a job keep their meaning
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin starve each other on a busy machine
}


class RayBackend:
    """A local Ray cluster, or the one this process was submitted to (RAY_ADDRESS)."""

    def __init__(self, job: Job, run_id: str, run_dir: Path, checkpoints: str) -> None:
        self._job = job
        self._run_id = run_id
        self._run_dir = run_dir
        self._checkpoints = checkpoints
        self._actor: Any = None

    def start(self) -> Watchdog:
        """Connect to Ray or start it, and start or find the run's watchdog."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if not ray.is_initialized():
            ray.init(
                # Without "local" Ray would join whatever cluster runs on this machine.
                address=os.environ.get("RAY_ADDRESS") or "local",
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **self._local_size(),
            )
        logging.getLogger("ray.train").setLevel(logging.ERROR)
        self._actor = start_watchdog(self._run_id, str(self._run_dir), self._job.spec.watchdog)
        ray.get(self._actor.port.remote())
        return remote_watchdog(self._actor)

    def _local_size(self) -> dict[str, Any]:
        """Return the size of a local cluster: a laptop may have fewer cores than workers."""
        if os.environ.get("RAY_ADDRESS"):
            return {}
        _, high = worker_bounds(self._job.spec.workers)
        wanted = int(high * self._job.spec.cpus_per_worker + 0.999)
        return {"num_cpus": max(os.cpu_count() or 1, wanted), "object_store_memory": 512 * 2**20}

    def run_attempt(self, plan: AttemptPlan) -> AttemptResult:
        """Run one attempt as a Ray Train job to its end."""
        use_gpu = self._uses_gpu()
        low, high = worker_bounds(self._job.spec.workers)
        resources = {"CPU": self._job.spec.cpus_per_worker}
        if use_gpu:
            resources["GPU"] = 1
        trainer = TorchTrainer(
            _train_loop,
            train_loop_config={
                "job": self._job,
                "plan": plan,
                "run_id": self._run_id,
                "checkpoints": self._checkpoints,
                "stacks": str(self._run_dir / "stacks"),
                "log": str(self._run_dir / "logs" / f"attempt_{plan.attempt}"),
            },
            scaling_config=ScalingConfig(
                num_workers=low if low == high else (low, high),
                use_gpu=use_gpu,
                resources_per_worker=resources,
            ),
            torch_config=TorchConfig(
                backend="nccl" if use_gpu else "gloo", timeout_s=_COLLECTIVE_TIMEOUT_S
            ),
            run_config=RunConfig(
                name=f"attempt-{plan.attempt}",
                storage_path=str(self._run_dir / "ray"),
                failure_config=FailureConfig(
                    max_failures=0, controller_failure_limit=0, max_preemption_failures=0
                ),
            ),
        )
        return _fit_beside(trainer)

    def _uses_gpu(self) -> bool:
        wanted = self._job.spec.gpus_per_worker
        if wanted is not None:
            return wanted > 0
        return bool(ray.cluster_resources().get("GPU", 0) >= 1)

    def close(self) -> None:
        """End the watchdog and leave the cluster; a local one ends with it."""
        if self._actor is not None:
            ray.kill(self._actor)
        ray.shutdown()


def _fit_beside(trainer: TorchTrainer) -> AttemptResult:
    """Run `fit` in a thread: in the main one it would take Ctrl-C for itself and abort."""
    results: list[AttemptResult] = []
    thread = threading.Thread(target=lambda: results.append(_fit(trainer)), name="ray-train-fit")
    thread.start()
    while thread.is_alive():
        thread.join(timeout=0.1)
    if not results:
        return AttemptResult(Outcome.EXCEPTION, error="Ray Train's fit ended without a result")
    return results[0]


def _fit(trainer: TorchTrainer) -> AttemptResult:
    try:
        returned = trainer.fit().return_value
    except ray.train.WorkerGroupError as error:
        return _worker_failure(error)
    except ray.train.TrainingFailedError as error:  # Ray Train's own controller gave up
        return AttemptResult(Outcome.EXCEPTION, error=str(error).strip())
    except ray.exceptions.RayError as error:  # its controller is dead
        return AttemptResult(Outcome.WORKER_DIED, error=_first_line(error))
    assert isinstance(returned, AttemptReturn), "rank 0 returns how it ended"
    return to_result(returned)


def _worker_failure(error: ray.train.WorkerGroupError) -> AttemptResult:
    """Return the culprit's failure: a death before an exception, and not a peer's echo of it."""
    failures: dict[int, BaseException] = dict(error.worker_failures)
    for rank, failure in sorted(failures.items()):
        death = getattr(failure, "health_check_failure", failure)
        if isinstance(death, ray.exceptions.RayActorError):
            return AttemptResult(
                Outcome.WORKER_DIED,
                error=f"the worker of rank {rank} died: {_death_detail(death)}",
                rank=rank,
                is_node_lost=isinstance(death, ray.exceptions.NodeDiedError)
                or "node has died" in str(death)
                or "node died" in str(death),
            )
    rank, failure = min(failures.items(), key=lambda item: (_is_echo(item[1]), item[0]))
    error_text = str(failure).strip()
    return AttemptResult(outcome_of(error_text), error=error_text, rank=rank)


def _is_echo(failure: BaseException) -> bool:
    """Whether a rank failed only because a peer had left the collective."""
    text = str(failure)
    return "Connection closed by peer" in text or "Connection reset by peer" in text


def _death_detail(error: BaseException) -> str:
    """Return Ray's own words on how a process ended, without its advice."""
    _, found, detail = str(error).partition("Worker exit detail: ")
    return detail.partition(". ")[0] if found else _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _train_loop(config: dict[str, Any]) -> AttemptReturn:
    """Run one rank; Ray Train has made the process group."""
    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    job: Job = config["job"]
    placement = Placement(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=device,
        local_world_size=context.get_local_world_size(),
        autocast=choose_autocast(job.spec.train.precision, device),
    )
    _log_to(Path(f"{config['log']}_rank_{placement.rank}.log"))
    actor = ray.get_actor(actor_name(config["run_id"]), namespace=NAMESPACE)
    threading.current_thread().name = f"rank-{placement.rank}"
    return run_attempt(
        job,
        config["plan"],
        placement,
        ray_channel(actor),
        config["checkpoints"],
        Path(config["stacks"]),
    )


def _log_to(path: Path) -> None:
    """Send what this worker logs to a file of its own in the run's folder; `make logs` shows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("runner", "watchdog", "jobs"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
