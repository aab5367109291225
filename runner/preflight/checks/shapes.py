"""Shapes: what the transform gives against what the model takes, its output against the target.

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from runner.preflight.bench import Bench, Forward, Unavailable
from runner.preflight.findings import Finding, failed, passed, warned
from runner.state import tensors_of

ORDER = 40
TITLE = "shapes"


def check(bench: Bench) -> Iterator[Finding]:
    """Run the model once and compare the shapes it met."""
    try:
        parameters = sum(p.numel() for p in bench.new_model().parameters())
    except Unavailable:
        raise
    except Exception as error:
        yield failed(
            f"the model cannot be built: {type(error).__name__}: {error}",
            "check the task's settings",
        )
        return
    forward = bench.first_forward
    batch = bench.small_batch
    shapes = {k: v.shape for k, v in batch.items() if isinstance(v, torch.Tensor) and v.ndim > 0}
    listed = ", ".join(f"{key} {_by(shape)}" for key, shape in shapes.items())
    if forward.error and forward.is_model_to_blame:
        yield failed(
            f"the model refuses the batch ({listed}): {forward.error}",
            "make the transform's size and channels those that the model was built for",
        )
        return
    apart = _spatial_mismatch(bench, forward)
    if apart:
        yield failed(
            apart + (f"; the loss says {forward.error}" if forward.error else ""),
            "give the decoder as many upsamplings as the encoder halves the input, or resize the "
            "target on purpose",
        )
        return
    if forward.error:
        yield failed(
            f"training_step fails on a batch ({listed}): {forward.error}", "repair the loss"
        )
        return
    if not forward.calls:
        yield warned(
            "training_step does not call the model as a whole: gradients of several workers are "
            "averaged only in model(...)",
            "call model(batch[...]), not its parts",
        )
        return
    outputs = [t for call in forward.calls for t in tensors_of(call.output)]
    yield passed(
        f"{listed} -> output {' and '.join(_by(out.shape) for out in outputs[:3])}, "
        f"{parameters:,} parameters",
        parameters=float(parameters),
    )


def _spatial_mismatch(bench: Bench, forward: Forward) -> str:
    """Return how the output's image size differs from the target's; "" if it does not.

    A loss may hide it, by broadcasting or by resizing one of them in silence.
    """
    key = bench.target_key()
    target = bench.small_batch.get(key) if key is not None else None
    if not isinstance(target, torch.Tensor) or target.ndim < 3:
        return ""
    outputs = [t for call in forward.calls for t in tensors_of(call.output) if t.ndim >= 3]
    if not outputs:
        return ""
    # The last call with images is the one that the loss sees; of several outputs, any may fit.
    sizes = {tuple(out.shape[2:] if out.ndim > 3 else out.shape[1:]) for out in outputs}
    wanted = {tuple(target.shape[1:]), tuple(target.shape[2:])}
    if sizes & wanted or not {len(size) for size in sizes} <= {len(size) for size in wanted}:
        return ""
    size = outputs[-1].shape
    return f"the output is {_by(size)}, the target {key} is {_by(target.shape)}"


def _by(shape: torch.Size) -> str:
    return "x".join(map(str, shape))
