"""What a task builds once in a process and trains over all its attempts there.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from runner.spec import TrainConfig
from runner.state import seed_step
from runner.task import SampleSource, Task


class Build:
    """Model, optimizer and samples of a task, on the rank's device."""

    def __init__(self, task: Task[Any], train: TrainConfig, device: torch.device) -> None:
        self.task = task
        self._train = train
        self._device = device
        self.model = self._untrained()
        self.optimizer = task.build_optimizer(self.model)
        self.source: SampleSource = task.train_data()
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._attempts = 0
        self._is_shared_out = False

    def renew(self, shard: Callable[[nn.Module], bool]) -> None:
        """Put the peak rates back, as the schedule found them; before each attempt.

        A model that was shared out belongs to a process group that is gone, and is built anew;
        `shard` shares one out, where that is done, and says so.
        """
        self._attempts += 1
        if self._is_shared_out:
            self.model = self._untrained()
        self._is_shared_out = shard(self.model)
        if self._is_shared_out:
            self.optimizer = self.task.build_optimizer(self.model)
        for group, lr in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = lr

    def start_over(self) -> None:
        """Be untrained, again if need be."""
        if self._attempts > 1 and not self._is_shared_out:
            self.model.load_state_dict(self._untrained().state_dict())
            self.optimizer.state.clear()

    def _untrained(self) -> nn.Module:
        seed_step(self._train.seed, 0, 0)  # the same weights on every rank
        return self.task.build_model().to(self._device)
