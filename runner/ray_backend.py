"""Runs attempts as Ray Train jobs. Ray's own retries are all off: the supervisor owns restarts.

Runs in: driver (and `_train_loop` in each worker).
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
from ray.train import RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from runner.backend import AttemptResult, outcome_of
from runner.channel import ChannelDown
from runner.elastic import Size
from runner.job import Job
from runner.local_backend import to_result
from runner.loopback import ensure_token
from runner.replica_groups import (
    TESTED_RAY,
    GroupConfig,
    Turnstile,
    WorkersGone,
    failure_config,
    trainer_class,
)
from runner.room import PATIENCE_S, RoomRequest, RoomWatch, await_room
from runner.shared_folder import require_shared
from runner.spec import worker_bounds
from runner.waiting import GroupWait, Waiting
from runner.watchdog_link import Watchdog, ray_channel, remote_watchdog, roll_line
from runner.worker import AttemptReturn, Seat, Worker
from runner.worker_deaths import death_of, first_line
from watchdog.actor import NAMESPACE, actor_name, start_watchdog
from watchdog.records import Outcome
from watchdog.redaction import RedactingFormatter
from watchdog.tiers import Renewal

_log = logging.getLogger(__name__)

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

    def __init__(
        self,
        job: Job,
        run_id: str,
        run_dir: Path,
        checkpoints: str,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._job = job
        self._run_id = run_id
        self._run_dir = run_dir
        self._watchdog = actor_name(run_id, str(run_dir))
        self._checkpoints = checkpoints
        self._actor: Any = None
        self._request: RoomRequest | None = None
        self._is_stopping = is_stopping
        self._renewal = _choose_renewal(job)
        recovery = job.spec.recovery
        if recovery.spares and self._renewal is not Renewal.SINGLE:
            _log.warning(
                "no spares: recovery.spares=%d needs recovery.replace, a fixed number of workers "
                "and a tested version of Ray (%s; this is %s)",
                recovery.spares,
                ", ".join(TESTED_RAY),
                ray.__version__,
            )

    def start(self) -> Watchdog:
        """Connect to Ray or start it, and start or find the run's watchdog."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if not ray.is_initialized():
            if not os.environ.get("RAY_ADDRESS"):
                ensure_token(os.environ, Path.home())
            ray.init(
                # Without "local" Ray would join whatever cluster runs on this machine.
                address=os.environ.get("RAY_ADDRESS") or "local",
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **self._local_size(),
            )
        logging.getLogger("ray.train").setLevel(logging.ERROR)
        self._actor = start_watchdog(
            self._run_id,
            str(self._run_dir),
            self._job.spec.watchdog,
            self._job.spec.recovery,
            renewal=self._renewal,
        )
        ray.get(self._actor.port.remote())
        return remote_watchdog(self._actor)

    def _local_size(self) -> dict[str, Any]:
        """Return the size of a local cluster: a laptop may have fewer cores than workers."""
        if os.environ.get("RAY_ADDRESS"):
            return {}
        _, high = worker_bounds(self._job.spec.workers)
        high += self._job.spec.recovery.spares
        wanted = int(high * self._job.spec.cpus_per_worker + 0.999)
        return {"num_cpus": max(os.cpu_count() or 1, wanted), "object_store_memory": 512 * 2**20}

    def run_group(self, group: int) -> AttemptResult:
        """Run one worker group as a Ray Train job to its end.

        It keeps its number of workers. Of an elastic range it takes what fits; when more would fit
        it is stopped with a checkpoint, and the next group is larger.
        """
        low, high = worker_bounds(self._job.spec.workers)
        spares = self._job.spec.recovery.spares if self._renewal is Renewal.SINGLE else 0
        resources = {"CPU": self._job.spec.cpus_per_worker}
        if self._uses_gpu():
            resources["GPU"] = 1
        watch: RoomWatch | None = None
        waiting = Waiting(remote_watchdog(self._actor).exchange)
        on_cluster = bool(os.environ.get("RAY_ADDRESS"))  # a local Ray has room for all it is asked
        workers = low + spares
        if low < high or on_cluster:
            size = self._await_room((workers, high + spares), resources, waiting)
            if size.workers is None and self._is_stopping():
                return AttemptResult(Outcome.STOPPED)
            if size.workers is None:
                return AttemptResult(Outcome.WORKER_DIED, error=size.reason, is_node_lost=True)
            workers = size.workers
        if low < high:
            request_stop = remote_watchdog(self._actor).request_stop
            watch = RoomWatch((low, high), resources, workers, request_stop, self._request)
        trainer = self._trainer(group, workers, spares, resources)
        looks = [watch.look] if watch is not None else []
        if on_cluster:  # another run may have been quicker to take the room
            looks.append(GroupWait(waiting, resources, workers).look)
        result = _fit_beside(trainer, looks)
        if watch is not None and watch.is_growing and result.outcome is Outcome.STOPPED:
            return replace(result, outcome=Outcome.RESIZED)
        return result

    def _trainer(
        self, group: int, workers: int, spares: int, resources: dict[str, float]
    ) -> DataParallelTrainer:
        """Return the Ray Train job of a worker group; `resources` are those of one worker."""
        use_gpu = "GPU" in resources
        is_renewed = self._renewal is not Renewal.NOTHING
        return trainer_class()(
            _train_loop,
            train_loop_config={
                "job": self._job,
                "group": group,
                "spares": spares,
                "backend": "nccl" if use_gpu else "gloo",
                "watchdog": self._watchdog,
                "checkpoints": self._checkpoints,
                "stacks": str(self._run_dir / "stacks"),
                "log": str(self._run_dir / "logs" / f"attempt_{group}"),
            },
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=use_gpu,
                resources_per_worker=resources,
            ),
            backend_config=GroupConfig(renewal=self._renewal),
            run_config=RunConfig(
                name=f"attempt-{group}",
                storage_path=str(self._run_dir / "ray"),
                failure_config=failure_config(self._renewal),
                callbacks=[Turnstile(self._watchdog, group)] if is_renewed else [],
            ),
        )

    def _await_room(
        self, bounds: tuple[int, int], worker: dict[str, float], waiting: Waiting
    ) -> Size:
        """Wait until the least number of workers fits; a fixed number waits as long as it takes."""
        self._request = self._request or self._new_request(worker)
        size = await_room(
            bounds,
            worker,
            self._is_stopping,
            self._request,
            lambda has_room: self._note_room(waiting, has_room=has_room),
            patience_s=PATIENCE_S if bounds[0] < bounds[1] else math.inf,
        )
        if self._request is not None and bounds[0] == bounds[1]:
            self._request.withdraw()  # from here on Ray Train asks for what it places
        return size

    def _note_room(self, waiting: Waiting, *, has_room: bool) -> None:
        """Tell of a wait for room; a watchdog that is away does not hear of it."""
        try:
            waiting.note(has_room=has_room)
        except ChannelDown as error:
            _log.info("could not tell of the wait for room: %s", error)

    def _new_request(self, worker: dict[str, float]) -> RoomRequest | None:
        """Return what asks for room; a local Ray has all it will ever have."""
        return RoomRequest(self._watchdog, worker) if os.environ.get("RAY_ADDRESS") else None

    def _uses_gpu(self) -> bool:
        wanted = self._job.spec.gpus_per_worker
        if wanted is not None:
            return wanted > 0
        return bool(ray.cluster_resources().get("GPU", 0) >= 1)

    def close(self) -> None:
        """End the watchdog and leave the cluster; a local one ends with it."""
        try:
            if self._request is not None:
                self._request.withdraw()
        except ray.exceptions.RayError as error:
            _log.info("the request for room was not withdrawn and runs out: %s", error)
        if self._actor is not None:
            ray.kill(self._actor)
        ray.shutdown()


def _choose_renewal(job: Job) -> Renewal:
    """Return what Ray can start anew within one job: all of them, if their number is fixed."""
    low, high = worker_bounds(job.spec.workers)
    if low < high or ray.__version__ not in TESTED_RAY:
        return Renewal.NOTHING
    recovery = job.spec.recovery
    return Renewal.SINGLE if recovery.replace or recovery.spares > 0 else Renewal.ALL


def _fit_beside(trainer: DataParallelTrainer, looks: Sequence[Callable[[], None]]) -> AttemptResult:
    """Run `fit` in a thread: in the main one it would take Ctrl-C for itself and abort.

    `looks` are called meanwhile, ten times a second; what goes wrong there is no fault of the run.
    """
    results: list[AttemptResult] = []
    thread = threading.Thread(target=lambda: results.append(_fit(trainer)), name="ray-train-fit")
    thread.start()
    while thread.is_alive():
        thread.join(timeout=0.1)
        for look in looks:
            try:
                look()
            except (ray.exceptions.RayError, ChannelDown) as error:
                _log.info("could not look for room: %s", error)
    if not results:
        return AttemptResult(Outcome.EXCEPTION, error="Ray Train's fit ended without a result")
    return results[0]


def _fit(trainer: DataParallelTrainer) -> AttemptResult:
    try:
        returned = trainer.fit().return_value
    except ray.train.WorkerGroupError as error:
        return _worker_failure(error)
    except ray.train.TrainingFailedError as error:  # Ray Train's own controller gave up
        gone = getattr(error, "controller_failure", None)
        if isinstance(gone, WorkersGone):
            text, is_node_lost = gone.message, gone.is_node_lost
            return AttemptResult(Outcome.WORKER_DIED, error=text, is_node_lost=is_node_lost)
        return AttemptResult(Outcome.EXCEPTION, error=str(error).strip())
    except ray.exceptions.RayError as error:  # its controller is dead
        return AttemptResult(Outcome.WORKER_DIED, error=first_line(error))
    assert isinstance(returned, AttemptReturn), "rank 0 returns how it ended"
    return to_result(returned)


def _worker_failure(error: ray.train.WorkerGroupError) -> AttemptResult:
    """Return the culprit's failure: a death before an exception."""
    failures: dict[int, BaseException] = dict(error.worker_failures)
    for rank, failure in sorted(failures.items()):
        death = death_of(failure)
        if death is not None:
            return AttemptResult(
                Outcome.WORKER_DIED,
                error=f"the worker of rank {rank} died: {death.detail}",
                rank=rank,
                is_node_lost=death.is_node_lost,
            )
    rank, failure = min(failures.items(), key=lambda item: item[0])
    error_text = str(failure).strip()
    return AttemptResult(outcome_of(error_text), error=error_text, rank=rank)


def _train_loop(config: dict[str, Any]) -> AttemptReturn:
    """Run one worker process; it makes its process groups itself."""
    context = ray.train.get_context()
    number = context.get_world_rank()
    host = ray.util.get_node_ip_address()
    run_dir = Path(config["stacks"]).parent
    require_shared(run_dir, config["checkpoints"], rank=number, host=host)
    _log_to(Path(f"{config['log']}_rank_{number}.log"))
    actor = ray.get_actor(config["watchdog"], namespace=NAMESPACE)
    threading.current_thread().name = f"rank-{number}"
    seat = Seat(
        group=config["group"],
        number=number,
        world_size=context.get_world_size() - config["spares"],
        device=ray.train.torch.get_device(),
        host=host,
        node=ray.get_runtime_context().get_node_id(),
        backend=config["backend"],
    )
    worker = Worker(
        config["job"],
        seat,
        ray_channel(actor),
        roll_line(actor),
        config["checkpoints"],
        Path(config["stacks"]),
    )
    return worker.run()


def _log_to(path: Path) -> None:
    """Send what this worker logs to a file of its own in the run's folder; `make logs` shows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("runner", "watchdog", "jobs"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
