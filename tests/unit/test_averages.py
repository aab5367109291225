"""Averaged weights: kept beside the model's own, and lent to it for a validation."""

from __future__ import annotations

import pytest
import torch

from runner.averages import WeightAverage


def model(value: float) -> torch.nn.Linear:
    linear = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(linear.weight, value)
    return linear


def test_the_average_follows_the_weights_faster_early_on() -> None:
    live = model(0.0)
    average = WeightAverage(live, decay=0.9)
    torch.nn.init.constant_(live.weight, 1.0)
    average.update(1)
    assert float(average.weights()["weight"][0, 0]) == pytest.approx(1 - 2 / 11)
    torch.nn.init.constant_(live.weight, 0.0)
    average.update(1000)
    assert float(average.weights()["weight"][0, 0]) == pytest.approx(0.9 * (1 - 2 / 11))


def test_a_validation_borrows_the_average_and_gives_the_weights_back() -> None:
    live = model(0.1)
    average = WeightAverage(live, decay=0.9)
    before = live.weight.detach().clone()
    torch.nn.init.constant_(live.weight, 0.3)
    own = live.weight.detach().clone()
    with average.in_place():
        assert torch.equal(live.weight, before)
    assert torch.equal(live.weight, own)
    with pytest.raises(RuntimeError), average.in_place():
        raise RuntimeError
    assert torch.equal(live.weight, own), "a validation that fails gives them back too"


def test_what_is_saved_is_put_back_and_a_state_without_it_starts_from_its_weights() -> None:
    live = model(0.5)
    average = WeightAverage(live, decay=0.9)
    average.load({"weight": torch.full((1, 2), 7.0)})
    assert float(average.weights()["weight"][0, 0]) == 7.0
    average.load(None)
    assert torch.equal(average.weights()["weight"], live.weight)
