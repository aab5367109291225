"""What ranks must agree on after a restore, and what each keeps to itself."""

from __future__ import annotations

import torch
from torch import nn

from runner.device import Placement
from runner.learner import Learner
from runner.spec import TrainConfig


def learner(model: nn.Module) -> Learner:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    train = TrainConfig(max_steps=1, batch_size=1, lr=0.1)
    return Learner(model, optimizer, train, Placement(0, 1, torch.device("cpu")))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def test_running_statistics_of_a_batch_norm_may_differ_from_rank_to_rank() -> None:
    one, other = network(), network()
    other(torch.rand(4, 1, 8, 8))
    assert learner(one).weights_norm() == learner(other).weights_norm()


def test_a_parameter_that_differs_is_seen() -> None:
    one, other = network(), network()
    with torch.no_grad():
        next(other.parameters()).mul_(1.001)
    assert learner(one).weights_norm() != learner(other).weights_norm()
