"""Gradients: there, finite and not all zero for every parameter, and each in the optimizer.

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from runner.preflight.bench import Bench, Unavailable
from runner.preflight.findings import Finding, failed, passed, some, warned
from runner.preflight.training import train_on

ORDER = 42
TITLE = "gradients"

#: Source: the segmentation project among the seeds skips a batch whose norm exceeds this.
_LARGE_NORM = 100.0
#: Enough for a gradient to pass a layer that began at zero, and one before it that did.
_MORE_STEPS = 2


def check(bench: Bench) -> Iterator[Finding]:
    """Run one backward pass and look at every parameter."""
    bench.first_loss  # noqa: B018  # raises when there is none
    model = bench.fresh_model()
    forward = bench.forward(model, bench.small_batch)
    if forward.loss is None:
        raise Unavailable("the forward pass fails; see shapes")
    bench.backward(forward.loss, model)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    infinite = [name for name, p in named if p.grad is not None and not p.grad.isfinite().all()]
    if infinite:
        yield failed(
            f"{len(infinite)} of {len(named)} parameters have NaN or infinite gradients: "
            f"{some(infinite)}",
            "clamp what goes into exp, log, sqrt and divisions of the loss",
        )
        return
    silent = _silent(named)
    norm = float(nn.utils.get_total_norm([p.grad for _, p in named if p.grad is not None]))
    if len(silent) == len(named):
        yield failed(
            "all gradients are zero",
            "look for a saturated clamp, a detach, or an output that the loss ignores",
        )
        return
    yield from _left_out(bench, model)
    if silent:
        silent = _still_silent(bench, model, silent)
    if silent:
        yield warned(
            f"{len(silent)} of {len(named)} parameters get no gradient: {some(silent)}",
            "a part of the model that nothing reaches is not trained; freeze or remove it",
        )
    if norm > _LARGE_NORM and bench.spec.train.clip_norm is None:
        yield warned(
            f"the first gradient norm is {norm:.3g} and nothing clips it",
            "set train.clip_norm=1.0",
            grad_norm=norm,
        )
    elif not silent:
        yield passed(
            f"{len(named)} parameters have finite gradients, norm {norm:.3g}", grad_norm=norm
        )


def _silent(named: Sequence[tuple[str, nn.Parameter]]) -> list[str]:
    return [name for name, p in named if p.grad is None or not p.grad.any()]


def _still_silent(bench: Bench, model: nn.Module, silent: Sequence[str]) -> list[str]:
    """Return those without a gradient after a few steps too.

    Behind a layer that begins at zero, as many residual branches end in, nothing has one at first.
    """
    rate = bench.spec.train.lr
    batch = bench.small_batch
    train_on(bench, model, [batch], steps=_MORE_STEPS, lr_of=lambda step: rate, limit_s=10.0)
    model.zero_grad(set_to_none=True)
    bench.backward(bench.loss(model, batch), model)
    now = _silent([(name, p) for name, p in model.named_parameters() if p.requires_grad])
    return [name for name in silent if name in now]


def _left_out(bench: Bench, model: nn.Module) -> Iterator[Finding]:
    optimizer = bench.task.build_optimizer(model)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [n for n, p in model.named_parameters() if p.requires_grad and id(p) not in held]
    if missing:
        yield warned(
            f"{len(missing)} parameters are not in the optimizer: {some(missing)}",
            "hand all of model.parameters() to the optimizer, or freeze them",
        )
    if not isinstance(optimizer, torch.optim.Optimizer):
        yield failed("build_optimizer returns no torch optimizer", "return one")
