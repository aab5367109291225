"""Ray Train alone: two workers, an exception at step 200, its own restart; times every step.

python -m bench.ray_train_restart FOLDER
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from torch.nn.parallel import DistributedDataParallel


def train(config: dict[str, Any]) -> None:
    """Train a small network; rank 1 raises once, rank 0 writes the time of each step."""
    torch.set_num_threads(1)
    folder = Path(config["folder"])
    rank = ray.train.get_context().get_world_rank()
    model = DistributedDataParallel(torch.nn.Linear(32, 32))
    optimizer = torch.optim.AdamW(model.parameters())
    has_raised = folder / "raised"
    for step in range(1, 401):
        if rank == 1 and step == 200 and not has_raised.exists():
            has_raised.touch()
            raise RuntimeError("on purpose")
        optimizer.zero_grad()
        model(torch.randn(16, 32)).square().mean().backward()
        optimizer.step()
        if rank == 0:
            with (folder / "steps.txt").open("a") as file:
                file.write(f"{time.time()}\n")


def main(folder: str) -> None:
    """Run it with Ray Train's quickest setting for noticing a failure."""
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"
    ray.init(address="local", log_to_driver=False)
    TorchTrainer(
        train,
        train_loop_config={"folder": folder},
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(
            storage_path=folder, name="plain", failure_config=FailureConfig(max_failures=1)
        ),
    ).fit()


if __name__ == "__main__":
    main(sys.argv[1])
