"""Each term of the loss does what it is for; scores are held against a constant."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from jobs.orion.catalogue import read_core
from jobs.orion.config import Config, LossConfig
from jobs.orion.losses import boundary_loss, focal_loss, variance_penalty, weighted_terms
from jobs.orion.metrics import correlation
from jobs.orion.task import TASK, OrionTask
from runner.spec import TrainConfig
from runner.task import TaskContext

SETTINGS = {
    "channels": 4,
    "crop": 32,
    "model": {"base_features": 4},
    "generated": {"cores": 3, "side": 64, "cells": 200},
    "validation": {"share": 0.34},
}


def task(cache: Path) -> OrionTask:
    context = TaskContext(
        train=TrainConfig(max_steps=10, batch_size=2, lr=0.01),
        data_dir=None,
        cache_dir=cache,
        device=torch.device("cpu"),
    )
    return TASK(Config.model_validate(SETTINGS), context)


class MeanOf(nn.Module):
    """Answers the mean of every channel, wherever."""

    def __init__(self, means: torch.Tensor) -> None:
        super().__init__()
        self.mean = means[:, None, None]

    def forward(self, stain: torch.Tensor) -> torch.Tensor:
        return self.mean.expand(1, -1, *stain.shape[-2:])


def test_the_trivial_scores_are_those_of_the_training_cores_means(tmp_path: Path) -> None:
    given = task(tmp_path)
    markers = [read_core(core, 4).markers for core in given._train]
    means = torch.from_numpy(np.stack(markers).mean(axis=(0, 2, 3)))
    scores, trivial = given.evaluate(MeanOf(means), 0), given.trivial_metrics()
    assert trivial["correlation"] == 0.0
    assert scores["correlation"] == pytest.approx(0.0, abs=1e-4)
    assert scores["psnr"] == pytest.approx(trivial["psnr"], abs=1e-3)
    assert scores["val_loss"] == pytest.approx(trivial["val_loss"], rel=1e-3)
    assert given.metric in trivial


def test_one_step_lowers_the_loss_of_its_batch(tmp_path: Path) -> None:
    given = task(tmp_path)
    torch.manual_seed(0)
    model = given.build_model()
    optimizer = given.build_optimizer(model)
    batch = {"stain": torch.rand(2, 3, 32, 32), "markers": torch.rand(2, 4, 32, 32)}
    before = given.training_step(model, batch)
    before.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert given.training_step(model, batch).item() < before.item()


@pytest.mark.parametrize(
    ("spread", "expected"), [(0.0, 0.01**2), (0.05, (0.01 - 0.05**2) ** 2), (0.2, 0.0)]
)
def test_the_variance_penalty_ends_at_its_target(spread: float, expected: float) -> None:
    image = 0.5 + spread * torch.tensor([-1.0, 1.0] * 8).reshape(1, 1, 4, 4)
    assert variance_penalty(image, LossConfig()).item() == pytest.approx(expected, abs=1e-9)


def test_the_first_variance_penalty_is_a_thousand_times_as_steep() -> None:
    flat = (0.5 + 0.01 * torch.randn(1, 1, 16, 16)).requires_grad_()
    slopes = []
    for form in ("target", "exponential"):
        config = LossConfig.model_validate({"variance_form": form})
        (slope,) = torch.autograd.grad(variance_penalty(flat, config), flat)
        slopes.append(slope.norm().item())
    assert slopes[1] > 1000 * slopes[0]


def test_a_blurred_border_costs_its_slope() -> None:
    sharp = torch.zeros(1, 1, 8, 8)
    sharp[..., 4:] = 1.0
    blurred = nn.functional.avg_pool2d(sharp, 3, stride=1, padding=1)
    assert boundary_loss(sharp, sharp).item() == 0.0
    assert boundary_loss(sharp + 0.3, sharp).item() == pytest.approx(0.0, abs=1e-6)
    assert boundary_loss(blurred, sharp).item() > 0.05


def test_the_focal_loss_favours_the_large_error() -> None:
    config, zero = LossConfig(), torch.zeros(1)
    small, large = (focal_loss(torch.tensor([e]), zero, config).item() for e in (0.1, 0.8))
    assert large / small > 8
    assert large == pytest.approx(0.8 * (2 / (1 + math.exp(-3.2)) - 1))


def test_terms_of_weight_zero_are_left_out() -> None:
    image = torch.rand(1, 2, 8, 8)
    assert set(weighted_terms(image, image, LossConfig())) == {"mse", "l1", "boundary", "variance"}


def test_a_flat_channel_counts_as_uncorrelated() -> None:
    image = torch.rand(2, 8, 8)
    half = image.clone()
    half[1] = 0.5
    assert correlation(image, image) == pytest.approx(1.0)
    assert correlation(half, image) == pytest.approx(0.5)


def test_the_floor_is_the_loss_of_a_constant_on_the_training_cores(tmp_path: Path) -> None:
    given = task(tmp_path)
    markers = torch.from_numpy(np.stack([read_core(c, 4).markers for c in given._train]))
    constant = markers.mean(dim=(0, 2, 3), keepdim=True).expand_as(markers)
    expected = sum(weighted_terms(constant, markers, given.config.loss).values())
    assert given.trivial_loss() == pytest.approx(float(expected), rel=1e-4)
