"""Hands a training state from one rank to all others, over the ranks' gloo group.

The description travels first, as plain values, and then the bytes of each tensor.

Runs in: worker.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from runner.packing import pack, unpack
from runner.state import StateInfo, Tree


def share(
    mine: tuple[Tree, StateInfo] | None, source: int, group: dist.ProcessGroup
) -> tuple[Tree, StateInfo]:
    """Return the state that rank `source` holds; every rank of `group` must call it."""
    is_source = dist.get_rank(group) == source
    described: list[Any] = [None]
    arrays: list[Any] = []
    if is_source:
        assert mine is not None, "the source holds the state"
        payload = pack(*mine)
        arrays = payload.pop("arrays")
        described = [(payload, [array.size for array in arrays])]
    dist.broadcast_object_list(described, src=source, group=group)
    payload, sizes = described[0]
    if not is_source:
        arrays = [np.empty(size, dtype=np.uint8) for size in sizes]
    for array in arrays:
        if array.size:
            dist.broadcast(torch.from_numpy(array), src=source, group=group)
    return mine if mine is not None else unpack({**payload, "arrays": arrays})
