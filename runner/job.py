"""Loads a job's code by its name: `jobs/<name>/task.py`, and never anything else.

Runs in: worker and driver.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from runner.spec import RunSpec
from runner.task import Task
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
        name = f"jobs.{self.spec.name}.task"
        module = importlib.import_module(name)
        task = getattr(module, "TASK", None)
        if not (isinstance(task, type) and issubclass(task, Task)):
            raise SpecError(f"{name} has no TASK = <a subclass of runner.task.Task>; add one")
        return task

    def prepare(self) -> str:
        """Check or generate the data, once, in the driver; return a plain sentence about it.

        Raises:
            DataError: the data folder cannot be trained on.
        """
        folder = None if self.data_dir is None else Path(self.data_dir)
        return self.task_class().prepare(self.task_config, folder, Path(self.cache_dir))
