"""Loads a job's code by its name: `jobs/<name>/task.py`, and never anything else.

Runs in: worker and driver.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import BaseModel

from runner.spec import RunSpec
from runner.task import OwnLoop, Task, TaskContext
from watchdog.errors import SpecError


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to build the task; plain data that survives pickling."""

    spec: RunSpec
    task_config: BaseModel
    data_dir: str | None
    cache_dir: str

    def task_class(self) -> type[Task[Any]]:
        """Return the job's task.

        Raises:
            SpecError: the job has no `TASK`, or it is not a `Task`.
        """
        module = self._module()
        task = getattr(module, "TASK", None)
        if isinstance(task, type) and issubclass(task, Task):
            return task
        what = "a loop of its own" if callable(getattr(module, "LOOP", None)) else "neither of them"
        raise SpecError(
            f"{module.__name__} has no TASK = <a subclass of runner.task.Task> for the standard "
            f"loop, or LOOP = <a function> in its place; it has {what}; add one"
        )

    def own_loop(self) -> OwnLoop | None:
        """Return the function that trains in the job's own loop; None: the standard loop does."""
        module = self._module()
        loop: OwnLoop | None = getattr(module, "LOOP", None)
        return loop if callable(loop) and not hasattr(module, "TASK") else None

    def _module(self) -> ModuleType:
        return importlib.import_module(f"jobs.{self.spec.name}.task")

    def prepare(self) -> str:
        """Check or generate the data, once, in the driver; return a plain sentence about it.

        Raises:
            DataError: the data folder cannot be trained on.
        """
        folder = None if self.data_dir is None else Path(self.data_dir)
        if self.own_loop() is not None:
            return f"data: {folder or 'none given'}; the job has a loop of its own, which reads it"
        return self.task_class().prepare(self.task_config, folder, Path(self.cache_dir))

    def trivial_loss(self) -> float | None:
        """Return what the job itself knows of the training loss of a constant prediction."""
        if self.own_loop() is not None:
            return None
        context = TaskContext(
            train=self.spec.train,
            data_dir=None if self.data_dir is None else Path(self.data_dir),
            cache_dir=Path(self.cache_dir),
            device=torch.device("cpu"),
        )
        return self.task_class()(self.task_config, context).trivial_loss()
