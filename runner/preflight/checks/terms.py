"""The terms of the loss: what share of the gradient at the output each has; ignored labels none.

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from runner.preflight.bench import Bench, Call, Unavailable
from runner.preflight.findings import Finding, failed, passed, some, unchecked, warned
from runner.state import tensors_of

ORDER = 46
TITLE = "loss terms"

#: Chosen: a term under this share cannot change where the weights go.
_IDLE_SHARE = 0.01


def check(bench: Bench) -> Iterator[Finding]:
    """Compare the gradients of the terms, and look for gradients at ignored labels."""
    bench.first_loss  # noqa: B018  # raises when there is none
    yield from _ignored(bench)
    model = bench.fresh_model()
    try:
        terms = dict(bench.task.loss_terms(model, bench.small_batch))
    except Exception as error:
        yield failed(f"loss_terms fails: {error}", "repair Task.loss_terms")
        return
    if not terms:
        yield unchecked("the job names no terms of its loss (Task.loss_terms)")
        return
    weights = [p for p in model.parameters() if p.requires_grad]
    norms = {}
    for name, value in terms.items():
        found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
        norms[name] = float(torch.nn.utils.get_total_norm([g for g in found if g is not None]))
    total = sum(norms.values())
    if not total > 0:
        yield failed("no term of the loss moves a weight", "check the weights of the terms")
        return
    shares = {name: norm / total for name, norm in norms.items()}
    text = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    idle = [name for name, share in shares.items() if 0 < share < _IDLE_SHARE]
    resting = [name for name, share in shares.items() if share == 0]
    numbers = {f"term_{name}": share for name, share in shares.items()}
    if idle:
        yield warned(
            f"{some(idle)} move{'s' if len(idle) == 1 else ''} the weights by under "
            f"{_IDLE_SHARE:.0%} of the gradient: {text}",
            "raise the weight or drop the term: as it is, it only costs time",
            **numbers,
        )
        return
    if resting:  # such as a penalty on one side of a threshold
        text += f"; {some(resting)} not active on this batch"
    yield passed(f"shares of the gradient: {text}", **numbers)


def _ignored(bench: Bench) -> Iterator[Finding]:
    """Check that the loss has no gradient where the label says that it is ignored."""
    labels = bench.task.labels()
    if labels is None or not labels.ignored or labels.key not in bench.small_batch:
        return
    target = bench.small_batch[labels.key]
    where = torch.isin(target, torch.tensor(sorted(labels.ignored), device=target.device))
    gradient = _at_output(bench)
    if gradient is None or not where.any():
        return
    if where.ndim == gradient.ndim - 1:
        where = where[:, None]
    if where.shape[2:] != gradient.shape[2:]:
        return
    leak = float((gradient.abs() * where).sum() / gradient.abs().sum().clamp(min=1e-30))
    if leak > 0:
        yield failed(
            f"{leak:.1%} of the gradient comes from labels {some(sorted(labels.ignored))}, which "
            "the job says are ignored",
            "mask them in every term of the loss, with where, not by a product",
            ignored_gradient=leak,
        )


def _at_output(bench: Bench) -> torch.Tensor | None:
    """Return the gradient of the loss by the model's output, if that is one tensor."""
    model = bench.fresh_model()
    forward = bench.forward(model, bench.small_batch)
    if forward.loss is None:
        raise Unavailable("the forward pass fails; see shapes")
    outputs = _tensors(forward.calls)
    if len(outputs) != 1 or not outputs[0].requires_grad:
        return None
    gradient: torch.Tensor | None = torch.autograd.grad(forward.loss, outputs, allow_unused=True)[0]
    return gradient


def _tensors(calls: tuple[Call, ...]) -> list[torch.Tensor]:
    return [tensor for call in calls for tensor in tensors_of(call.output)]
