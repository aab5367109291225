"""A complete job in one page: data, model, one step, validation. Runs in: worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from jobs.template.config import Config
from runner.task import Task


class Spirals:
    """Points of two spirals, by index: `x` is (2,), `y` is 0 or 1."""

    def __init__(self, samples: int, noise: float) -> None:
        self._samples = samples
        self._noise = noise

    def __len__(self) -> int:
        return self._samples

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Return one point; the noise is drawn anew each time."""
        turn = index // 2 / self._samples * 6.0 + 0.5
        angle = turn + np.pi * (index % 2)
        point = turn / 3.5 * np.array([np.cos(angle), np.sin(angle)])
        point += rng.normal(0.0, self._noise, 2)
        return {"x": point.astype(np.float32), "y": index % 2}


class SpiralTask(Task[Config]):
    """Tells two spirals apart; `accuracy` is the metric, 0.5 the trivial predictor's."""

    metric = "accuracy"

    def train_data(self) -> Spirals:
        """Return the training points."""
        return Spirals(self.config.samples, self.config.noise)

    def build_model(self) -> nn.Module:
        """Return a network with two hidden layers: (B, 2) -> (B, 2)."""
        hidden = self.config.hidden
        layers = (nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())
        return nn.Sequential(*layers, nn.Linear(hidden, 2))

    def training_step(self, model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the cross-entropy of a batch."""
        return nn.functional.cross_entropy(model(batch["x"]), batch["y"])

    def validation_size(self) -> int:
        """Return the number of validation batches."""
        return 4

    def evaluate(self, model: nn.Module, index: int) -> Mapping[str, Any]:
        """Return loss and accuracy over a quarter of the validation points."""
        points = Spirals(self.config.samples, 0.0)
        batch = [points.get(i, np.random.default_rng(i)) for i in range(index, len(points), 4)]
        x = torch.from_numpy(np.stack([b["x"] for b in batch])).to(self.context.device)
        y = torch.tensor([b["y"] for b in batch], device=self.context.device)
        logits = model(x)
        loss = float(nn.functional.cross_entropy(logits, y))
        return {"val_loss": loss, "accuracy": float((logits.argmax(1) == y).float().mean())}

    def trivial_metrics(self) -> Mapping[str, float]:
        """Return the accuracy of always saying the same."""
        return {"accuracy": 0.5}


TASK = SpiralTask
