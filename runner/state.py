"""The training state as a tree of tensors, and how it is copied, checked and put back.

Random numbers are not part of it: every step seeds all generators from (seed, step, rank), see
`seed_step`, so the state after a step is weights, optimizer, scaler and a position, and nothing is
lost or doubled when a run resumes with another number of ranks.

Runs in: worker.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from runner.averages import WeightAverage
from runner.memory_budget import optimizer_bytes
from runner.shards import as_shared_out, local
from runner.validation_history import ValidationHistory

Tree = Any  # nested dicts, lists and tuples with tensors and plain values at the leaves


@dataclass(frozen=True, slots=True)
class StateInfo:
    """Where in the run a state was taken: after `step`, with `position` samples consumed."""

    step: int
    generation: int
    position: int
    world_size: int
    seed: int


class TrainState:
    """Model, optimizer, scaler (fp16), averaged weights and validations of one rank, as one tree.

    Where FSDP shares tensors out, the tree holds this rank's parts of them.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None = None,
        validations: ValidationHistory | None = None,
        average: WeightAverage | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scaler = scaler
        self.validations = validations
        self.average = average

    def tree(self) -> dict[str, Tree]:
        """Return the live tensors (not copies), keyed as the checkpoint file is."""
        tree: dict[str, Tree] = {
            "model": map_tensors(local, dict(self.model.state_dict())),
            "optimizer": map_tensors(local, self.optimizer.state_dict()),
        }
        if self.scaler is not None:
            tree["scaler"] = self.scaler.state_dict()
        if self.average is not None:
            tree["average"] = self.average.weights()
        if self.validations is not None and self.validations.is_used:
            tree["validations"] = self.validations.state()
        return tree

    def forward_state(self) -> Iterator[torch.Tensor]:
        """Yield the tensors that a forward pass overwrites, without waiting for the optimizer."""
        return self.model.buffers()

    def load(self, tree: Mapping[str, Tree]) -> None:
        """Put a copy of the tree's tensors back in place."""
        live = self.model.state_dict()
        if any(local(tensor) is not tensor for tensor in live.values()):
            _copy_into(live, tree["model"])
        else:
            self.model.load_state_dict(tree["model"])
        # load_state_dict keeps tensors of the same device and type as they are: hand it copies.
        copies = map_tensors(torch.clone, tree["optimizer"])
        self.optimizer.load_state_dict(as_shared_out(copies, self.optimizer))
        if self.scaler is not None and "scaler" in tree:
            self.scaler.load_state_dict(tree["scaler"])
        if self.average is not None:
            self.average.load(tree.get("average"))
        if self.validations is not None:
            self.validations.load(tree.get("validations", ()))

    def size_bytes(self) -> int:
        """Return what a copy of the state takes once the optimizer has taken a step."""
        tree = self.tree()
        if not self.optimizer.state:
            parameters = [local(p) for g in self.optimizer.param_groups for p in g["params"]]
            name = type(self.optimizer).__name__
            return tree_bytes(tree) + optimizer_bytes(name, tree_bytes(parameters))
        return tree_bytes(tree)


def _copy_into(live: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> None:
    """Copy saved parts into the live ones.

    Raises:
        KeyError: the names differ; it is the state of another model.
    """
    if live.keys() != saved.keys():
        raise KeyError(f"the checkpoint is of another model: {sorted(live.keys() ^ saved.keys())}")
    with torch.no_grad():
        for name, tensor in live.items():
            local(tensor).copy_(saved[name])


def tree_bytes(tree: Tree) -> int:
    """Return the bytes of all tensors of a tree."""
    return sum(t.numel() * t.element_size() for t in tensors_of(tree))


def map_tensors(function: Callable[[torch.Tensor], Any], tree: Tree) -> Tree:
    """Return the tree with `function` applied to each tensor; other leaves are kept."""
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_tensors(function, value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(map_tensors(function, value) for value in tree)
    return tree


def tensors_of(tree: Tree) -> Iterator[torch.Tensor]:
    """Yield the tensors of a tree, in a fixed order."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from tensors_of(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from tensors_of(value)


def is_finite(tree: Tree) -> torch.Tensor:
    """Return a scalar bool tensor on the state's device: no NaN or infinity in any float tensor.

    It costs one multi-tensor norm and no host sync. A norm that overflows counts as not finite.
    """
    floats = [t for t in tensors_of(tree) if t.is_floating_point() and t.numel() > 0]
    if not floats:
        return torch.tensor(True)
    device = max(floats, key=torch.Tensor.numel).device
    same_device = [t for t in floats if t.device == device]
    return torch.isfinite(torch.nn.utils.get_total_norm(same_device))


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed every generator for one step: a function of its arguments and nothing else.

    The generators are seeded one by one: `torch.manual_seed` also asks every kind of accelerator
    whether it is there, which costs four times as much as all the seeding.
    """
    value = (seed * 1_000_003 + step * 8_191 + rank * 131 + 17) % (2**32)
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(value)
    np.random.seed(value)
    random.seed(value)
