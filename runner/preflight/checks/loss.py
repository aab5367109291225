"""The loss of an untrained model: one finite number that depends on the weights.

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from runner.preflight.bench import Bench, Unavailable
from runner.preflight.findings import Finding, failed, passed
from runner.state import tensors_of

ORDER = 41
TITLE = "loss"


def check(bench: Bench) -> Iterator[Finding]:
    """Look at output and loss of a fresh model."""
    forward = bench.first_forward
    loss = forward.loss
    if loss is None:
        raise Unavailable("the forward pass fails; see shapes")
    outputs = [t for call in forward.calls for t in tensors_of(call.output)]
    if any(not torch.isfinite(out).all() for out in outputs if out.is_floating_point()):
        yield failed(
            "the output of the untrained model holds NaN or infinity",
            "check the initialisation (Kaiming for ReLU) and the scale of the inputs",
        )
        return
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        shape = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
        yield failed(f"the loss is not one number: {shape}", "return its mean over the batch")
        return
    value = float(loss.detach())
    if not torch.isfinite(loss):
        yield failed(
            f"the loss of the untrained model is {value}",
            "clamp what goes into exp, log and divisions, or compute the loss from logits",
        )
        return
    if not loss.requires_grad:
        yield failed(
            f"the loss {value:.4g} does not depend on any weight",
            "look for detach, argmax, item or no_grad between output and loss",
        )
        return
    yield passed(f"loss {value:.4g} before any step", first_loss=value)
