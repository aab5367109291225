"""How much memory a run takes: weights, gradients, optimizer state, activations of a sample.

Runs in: preflight's own process.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from runner.preflight.bench import Bench
from runner.preflight.training import train_on
from runner.state import TrainState, tensors_of

#: Copies that a step needs beside the saved activations: outputs, workspaces, their gradients.
#: Chosen: as much again as autograd saved, to be on the safe side; not measured.
_WORKSPACE = 2.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of one rank: what is there at all times, and what each sample of a forward adds.

    `state_bytes` is what one checkpoint holds: weights and optimizer state.
    """

    state_bytes: int
    gradient_bytes: int
    sample_bytes: float

    @property
    def static_bytes(self) -> int:
        """Return what a rank holds whatever the batch."""
        return self.state_bytes + self.gradient_bytes


def measure(bench: Bench) -> Footprint:
    """Return the footprint, from one real step and one forward pass."""
    bench.first_loss  # noqa: B018  # raises when there is none
    model = bench.fresh_model()
    batch = bench.small_batch
    optimizer = bench.task.build_optimizer(model)
    bench.backward(bench.loss(model, batch), model)
    gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    optimizer.step()
    state = sum(t.nbytes for t in tensors_of(TrainState(model, optimizer).tree()))
    samples = max(len(t) for t in tensors_of(dict(batch)) if t.ndim > 0)
    if bench.device.type == "cuda":
        return Footprint(state, gradients, _peak_on_gpu(bench, model) / samples)
    return Footprint(state, gradients, _WORKSPACE * _saved_bytes(bench, model) / samples)


def _saved_bytes(bench: Bench, model: torch.nn.Module) -> int:
    """Return the bytes that autograd keeps for a backward pass, the weights left out."""
    seen = {p.untyped_storage().data_ptr() for p in model.parameters()}
    total = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        pointer = tensor.untyped_storage().data_ptr()
        if pointer not in seen:
            seen.add(pointer)
            total += tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        # The loss is held so that no storage is freed and its address used again.
        loss = bench.loss(model, bench.small_batch)
    del loss
    return total


def _peak_on_gpu(bench: Bench, model: torch.nn.Module) -> float:
    torch.cuda.reset_peak_memory_stats(bench.device)
    before = torch.cuda.memory_allocated(bench.device)
    train_on(bench, model, [bench.small_batch], steps=2, lr_of=lambda step: 0.0, limit_s=30.0)
    return float(torch.cuda.max_memory_allocated(bench.device) - before)
