"""A step with gradients that are not finite changes nothing."""

from __future__ import annotations

import pytest
import torch

from runner.reflex import Reflex

OPTIMIZERS = [
    pytest.param(lambda p: torch.optim.AdamW(p, lr=0.1, fused=True), id="fused"),
    pytest.param(lambda p: torch.optim.AdamW(p, lr=0.1, fused=False), id="foreach"),
    pytest.param(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), id="sgd"),
]


def parameter(gradient: float) -> torch.nn.Parameter:
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.tensor([1.0, gradient, 1.0])
    return weight


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("is_on_device", [True, False])
def test_a_bad_gradient_leaves_weights_and_moments_alone(make, bad, is_on_device) -> None:  # type: ignore[no-untyped-def]
    weight = parameter(1.0)
    reflex = Reflex(optimizer := make([weight]), clip_norm=1.0, is_on_device=is_on_device)
    reflex.step()
    before = weight.detach().clone()
    moments = [t.clone() for s in optimizer.state.values() for t in s.values()]
    weight.grad = torch.tensor([1.0, bad, 1.0])
    outcome = reflex.step()
    assert not outcome.is_applied
    assert not outcome.is_finite
    assert torch.equal(weight, before)
    after = [t for s in optimizer.state.values() for t in s.values()]
    assert all(torch.equal(a, b) for a, b in zip(moments, after, strict=True))


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_good_gradient_is_applied_after_a_bad_one(make) -> None:  # type: ignore[no-untyped-def]
    weight = parameter(float("nan"))
    reflex = Reflex(make([weight]), clip_norm=1.0)
    reflex.step()
    weight.grad = torch.ones(3)
    outcome = reflex.step()
    assert outcome.is_applied
    assert not torch.equal(weight, torch.ones(3))


def test_the_reported_norm_is_the_one_before_clipping() -> None:
    weight = parameter(1.0)
    outcome = Reflex(torch.optim.SGD([weight], lr=0.0), clip_norm=0.1).step()
    assert float(outcome.grad_norm) == pytest.approx(3**0.5)
    assert weight.grad is not None
    assert float(weight.grad.norm()) == pytest.approx(0.1, rel=1e-4)


def test_without_a_limit_nothing_is_clipped() -> None:
    weight = parameter(100.0)
    Reflex(torch.optim.SGD([weight], lr=0.0), clip_norm=None).step()
    assert weight.grad is not None
    assert float(weight.grad[1]) == pytest.approx(100.0)


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("is_on_device", [True, False])
@pytest.mark.parametrize(("gradient", "is_applied"), [(2.0, True), (2.1, False)])
def test_a_norm_above_the_limit_is_skipped_and_counts_as_finite(  # type: ignore[no-untyped-def]
    make, is_on_device, gradient, is_applied
) -> None:
    weight = parameter(gradient)  # its norm is the root of 2 + gradient squared
    reflex = Reflex(make([weight]), clip_norm=1.0, skip_norm=6**0.5, is_on_device=is_on_device)
    outcome = reflex.step()
    assert bool(outcome.is_applied) is is_applied
    assert outcome.is_finite
    assert torch.equal(weight, torch.ones(3)) is not is_applied


@pytest.mark.parametrize(("gradient", "is_applied"), [(1.0, True), (9.0, False)])
def test_a_large_norm_is_skipped_under_a_gradient_scaler_too(
    gradient: float, is_applied: bool
) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    reflex = Reflex(torch.optim.SGD([weight], lr=0.1), None, scaler, skip_norm=5.0)
    scaler.scale((weight * gradient).sum()).backward()  # type: ignore[no-untyped-call]
    outcome = reflex.step()
    assert float(outcome.grad_norm) == pytest.approx(gradient * 3**0.5)
    assert bool(outcome.is_applied) is is_applied
    assert outcome.is_finite
    assert torch.equal(weight, torch.ones(3)) is not is_applied
