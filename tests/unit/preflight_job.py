"""A tiny job of images, whole or with one defect, and the bench that the checks get."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from runner.job import Job
from runner.job_facts import DataFiles, Labels
from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, Level
from runner.preflight.running import run_check
from runner.spec import CheckpointConfig, Config, RunSpec, TrainConfig
from runner.task import Task

SIDE = 16
KNOWN = {0: "background", 1: "surface", 2: "unlabelled"}


class Blobs(Config):
    """One setting: what is wrong with the job."""

    defect: str = ""


class Images:
    """Smooth blobs and twice as much of them."""

    def __init__(self, defect: str, size: int = 24) -> None:
        self._defect = defect
        self._size = size

    def __len__(self) -> int:
        return self._size

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        if self._defect == "unreadable" and index % 2:
            raise OSError("cannot identify image file")
        y, x = np.mgrid[:SIDE, :SIDE] / SIDE
        cy, cx = np.random.default_rng(index).uniform(0.2, 0.8, 2)
        image = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 0.05)[None].astype(np.float32)
        if self._defect == "noise":
            image = rng.random(image.shape, dtype=np.float32)
        if self._defect == "some noise" and index == 0:
            image = rng.random(image.shape, dtype=np.float32)
        if self._defect == "saturated":
            image = np.minimum(image * 20, 1.0)
        if self._defect == "flat":
            image = image * np.float32(1e-3)
        if self._defect == "nan":
            image[0, 0, 0] = np.nan
        side = SIDE + 2 * (index % 2) if self._defect == "uneven" else SIDE
        target = np.zeros((1, side, side), np.float32)
        target[:, :SIDE, :SIDE] = 2 * image
        mask = (image[0] > 0.5).astype(np.int64)
        mask[:, : SIDE // 2] = 2 if self._defect == "masked" else mask[:, : SIDE // 2]
        return {"image": image, "target": target, "mask": mask}


class Net(nn.Module):
    def __init__(self, defect: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(3 if defect == "channels" else 1, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 1, 3, padding=1, stride=2 if defect == "mismatch" else 1)
        if defect == "zero start":
            nn.init.zeros_(self.last.weight)
        self.idle = nn.Linear(2, 2) if defect == "idle" else nn.Identity()
        self.defect = defect

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(torch.tanh(self.first(image)))
        if self.defect == "detached":
            return out.detach()
        return out * torch.nan if self.defect == "nan output" else out


class BlobTask(Task[Blobs]):
    metric = "score"
    input_key, target_key = "image", "target"

    def train_data(self) -> Images:
        return Images(self.config.defect)

    def build_model(self) -> nn.Module:
        return Net(self.config.defect)

    def training_step(self, model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
        out, target = model(batch["image"]), batch["target"]
        if self.config.defect == "mismatch":
            target = nn.functional.interpolate(target, out.shape[2:])  # hides the defect
        error = (out - target) ** 2
        if self.config.defect == "masked":
            error = error * (batch["mask"] < 2)[:, None]
        loss = error.mean()
        if self.config.defect == "no gradient":
            loss = -loss.detach() + 0 * loss
        return torch.as_tensor(loss)

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        optimizer = super().build_optimizer(model)
        if self.config.defect == "uphill":
            return torch.optim.SGD(model.parameters(), lr=self.context.train.lr, maximize=True)
        return optimizer

    def validation_size(self) -> int:
        return 2

    def evaluate(self, model: nn.Module, index: int) -> Mapping[str, Any]:
        if self.config.defect == "no metric":
            return {"val_loss": 1.0}
        return {"val_loss": 1.0, "score": 0.5}

    def augment_pair(self, image: Any, target: Any, rng: np.random.Generator) -> Any:
        if self.config.defect == "no augmentation":
            return None
        flips = rng.random() < 0.5
        image = image[..., ::-1].copy() if flips else image
        moves_target = self.config.defect != "misaligned"
        target = target[..., ::-1].copy() if flips and moves_target else target
        return image * 1.1 + 0.1, target

    def labels(self) -> Labels | None:
        if self.config.defect not in ("masked", "counted", "leaking"):
            return None
        counted = self.config.defect == "counted"
        return Labels(
            key="mask",
            names=KNOWN,
            unlabelled=frozenset({2}),
            ignored=frozenset({1 if self.config.defect == "leaking" else 2}),
            stored=lambda: np.array([[[0, 0, 0, 1, 2, 2, 2, 2, 2, 2]]]),
            as_trained=lambda label: np.where(label == 2, 1, label) if counted else label,
        )

    def class_counts(self) -> Mapping[str, int]:
        found = {"imbalance": {"paper": 250, "glass": 10}, "empty": {"paper": 5, "glass": 0}}
        return found.get(self.config.defect, {"paper": 20, "glass": 30})

    def data_files(self) -> DataFiles | None:
        paths = tuple(Path(f"{i}.png") for i in range(10))
        if self.config.defect == "corrupt":
            return DataFiles(train=paths[:7], unreadable=paths[7:])
        return None

    def loss_terms(self, model: nn.Module, batch: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
        loss = self.training_step(model, batch)
        return {"mse": loss, "l1": loss * (1e-6 if self.config.defect == "idle term" else 0.5)}


@dataclasses.dataclass(frozen=True, slots=True)
class BlobJob(Job):
    """The job without a folder."""

    def task_class(self) -> type[Task[Any]]:
        return BlobTask

    def own_loop(self) -> None:
        return None


def bench(defect: str = "", folder: Path = Path("runs"), **train: Any) -> Bench:
    """Return the bench of the job with one defect."""
    settings = {"max_steps": 100, "batch_size": 4, "lr": 0.01, "warmup_steps": 5} | train
    spec = RunSpec(
        name="blobs",
        workers=1,
        train=TrainConfig(eval_every_steps=10, **settings),
        checkpoints=CheckpointConfig(every_steps=20),
    )
    return Bench(BlobJob(spec, Blobs(defect=defect), None, str(folder)), folder)


def found(check: str, given: Bench) -> list[Finding]:
    """Return what one check finds."""
    return list(run_check(check, given).findings)


def level_of(check: str, given: Bench) -> Level:
    """Return the gravest level that one check finds."""
    levels = [finding.level for finding in found(check, given)]
    return max(levels, key=list(Level).index)
