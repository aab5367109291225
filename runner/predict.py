"""Has a run's model predict: the newest trusted checkpoint, the job's own `predict`.

Runs in: driver.
"""

from __future__ import annotations

from pathlib import Path

import torch

from runner.checkpoints import CheckpointStore
from runner.device import local_device
from runner.job import Job
from runner.runs import RunFolder
from runner.sharded_checkpoints import load_whole
from runner.task import Task, TaskContext
from watchdog.errors import BadInput, CheckpointError

_TRUSTED = "trusted"
_DISTRUSTED = ("tainted", "quarantined")


def predict(run: RunFolder, job: Job, folder: Path) -> str:
    """Write the predictions into `folder`; return a sentence about them.

    Raises:
        BadInput: the job writes no predictions.
        CheckpointError: the run has no checkpoint that can be read.
        DataError: there is nothing to predict.
    """
    task_class = job.task_class()
    if task_class.predict is Task.predict:
        raise BadInput(f"job {job.spec.name} writes no predictions: its task has no predict")
    store = CheckpointStore(job.spec.checkpoints.path or str(run.checkpoints))
    step = best_step(store)
    tree, _ = load_whole(store, step)
    device = local_device()
    task = task_class(
        job.task_config,
        TaskContext(
            train=job.spec.train,
            data_dir=None if job.data_dir is None else Path(job.data_dir),
            cache_dir=Path(job.cache_dir),
            device=device,
        ),
    )
    model = task.build_model()
    # What was validated is what predicts: the averaged weights, where there are such.
    model.load_state_dict({**tree["model"], **tree.get("average", {})})
    with torch.no_grad():
        said = task.predict(model.to(device).eval(), folder)
    return f"step {step} of run {run.run_id}: {said}"


def best_step(store: CheckpointStore) -> int:
    """Return the newest trusted step, or the newest that nobody distrusts.

    Raises:
        CheckpointError: there is none.
    """
    steps = store.steps()
    trust = {step: store.manifest(step).get("trust") for step in steps}
    for wanted in (
        [step for step in steps if trust[step] == _TRUSTED],
        [step for step in steps if trust[step] not in _DISTRUSTED],
    ):
        if wanted:
            return wanted[-1]
    raise CheckpointError(
        f"no checkpoint to predict with in {store.location}: {len(steps)} are there, none of them "
        "trusted or undecided"
    )
