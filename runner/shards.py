"""The rank's own part of tensors that FSDP shares out, and how it is put back.

Everything outside of the forward pass works on local tensors: memory checkpoints, their copies,
the finite check. What a local tensor is a part of is known from the parameter it belongs to.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement

Path = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """What a local tensor is the part of: a tensor of this shape, laid out so over the ranks."""

    shape: torch.Size
    stride: tuple[int, ...]
    placements: tuple[Placement, ...]

    def cut(self, tensor: torch.Tensor, rank: int, ranks: int) -> torch.Tensor:
        """Return the part of `rank` of a whole tensor, cut along its first axis as FSDP does."""
        pieces = torch.chunk(tensor, ranks)
        return pieces[rank].clone() if rank < len(pieces) else tensor[:0].clone()

    def of(self, local: torch.Tensor, mesh: DeviceMesh) -> DTensor:
        """Return the whole tensor that `local` is this rank's part of; nothing is copied."""
        return DTensor.from_local(
            local,
            mesh,
            self.placements,
            run_check=False,
            shape=self.shape,
            stride=self.stride,
        )


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return this rank's part of a tensor: the tensor itself when it is not shared out."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in one piece; where it is shared out all ranks must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share_of(tensor: torch.Tensor) -> Share | None:
    """Return how a tensor is shared out; None when it is not."""
    if not isinstance(tensor, DTensor):
        return None
    return Share(tensor.shape, tensor.stride(), tuple(tensor.placements))


class ShareMap:
    """Which leaves of a state's tree are parts, by their path in it."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._by_name = {
            name: share
            for name, tensor in model.state_dict().items()
            if (share := share_of(tensor)) is not None
        }
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._by_index = {
            index: share
            for index, parameter in enumerate(parameters)
            if (share := share_of(parameter)) is not None
        }

    def whole(self, path: Path, shape: torch.Size) -> Share | None:
        """Return the share of a leaf whose whole has `shape`; None if it is no part."""
        share = self._at(path)
        return share if share is not None and share.shape == shape else None

    def part(self, path: Path, tensor: torch.Tensor) -> Share | None:
        """Return the share of the local leaf at `path`; None if it is no part.

        Of a parameter's optimizer state, its counter of steps is none.
        """
        share = self._at(path)
        return share if share is not None and tensor.dim() == len(share.shape) else None

    def _at(self, path: Path) -> Share | None:
        match path:
            case ("model" | "average", str(name)):
                return self._by_name.get(name)
            case ("optimizer", "state", int(index), _):
                return self._by_index.get(index)
            case _:
                return None


def as_shared_out(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer's state with local tensors made parts of what they belong to."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    wrapped = {
        index: {
            key: _like(value, parameters[index]) if isinstance(value, torch.Tensor) else value
            for key, value in values.items()
        }
        for index, values in state["state"].items()
    }
    return {**state, "state": wrapped}


def _like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    share = share_of(parameter)
    if share is None or value.dim() != len(share.shape):
        return value
    assert isinstance(parameter, DTensor)
    on_device = value.to(parameter.to_local().device)
    return share.of(on_device, parameter.device_mesh)


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, torch.Tensor]]:
    """Yield the tensors of a tree with their paths, in the order of `tensors_of`."""
    if isinstance(tree, torch.Tensor):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            yield from leaves(value, (*path, index))
