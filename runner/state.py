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
    """Model, optimizer, (for fp16) gradient scaler and validations of one rank, as one tree."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None = None,
        validations: ValidationHistory | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scaler = scaler
        self.validations = validations

    def tree(self) -> dict[str, Tree]:
        """Return the live tensors (not copies), keyed as the checkpoint file is."""
        tree: dict[str, Tree] = {
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.scaler is not None:
            tree["scaler"] = self.scaler.state_dict()
        if self.validations is not None and self.validations.is_used:
            tree["validations"] = self.validations.state()
        return tree

    def load(self, tree: Mapping[str, Tree]) -> None:
        """Put a copy of the tree's tensors back in place."""
        self.model.load_state_dict(tree["model"])
        # load_state_dict keeps tensors of the same device and type as they are: hand it copies.
        self.optimizer.load_state_dict(map_tensors(torch.clone, tree["optimizer"]))
        if self.scaler is not None and "scaler" in tree:
            self.scaler.load_state_dict(tree["scaler"])
        if self.validations is not None:
            self.validations.load(tree.get("validations", ()))


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
