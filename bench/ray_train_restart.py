"""Ray Train alone: its worker group restarted by Ray after each fault of rank 1; times every step.

python -m bench.ray_train_restart FOLDER [exception|kill] [TIMES]
"""

from __future__ import annotations

import os
import signal
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
    """Train a small network; rank 1 fails `times` times, rank 0 writes the time of each step."""
    torch.set_num_threads(1)
    folder = Path(config["folder"])
    rank = ray.train.get_context().get_world_rank()
    model = DistributedDataParallel(torch.nn.Linear(32, 32))
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(1, 201):
        past = len(list(folder.glob("fault_*")))
        if rank == 1 and step == 100 and past < config["times"]:
            (folder / f"fault_{past}").touch()
            if config["fault"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("on purpose")
        optimizer.zero_grad()
        model(torch.randn(16, 32)).square().mean().backward()
        optimizer.step()
        if rank == 0:
            with (folder / "steps.txt").open("a") as file:
                file.write(f"{time.time()}\n")


def main(folder: str, fault: str = "exception", times: str = "1") -> None:
    """Run it with Ray Train's quickest setting for noticing a failure."""
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"
    # As ours: the default, 15, loses to any other load.
    os.environ.update({"RAY_worker_niceness": "0"})
    ray.init(address="local", log_to_driver=False)
    TorchTrainer(
        train,
        train_loop_config={"folder": folder, "fault": fault, "times": int(times)},
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(
            storage_path=folder,
            name="plain",
            failure_config=FailureConfig(max_failures=int(times)),
        ),
    ).fit()


if __name__ == "__main__":
    main(*sys.argv[1:])
