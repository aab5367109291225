"""A training state as plain arrays, so that it travels through Ray's object store without pickle.

Each tensor becomes a view of its bytes with its dtype and shape beside it; nothing is copied on
the way out, and what comes back is a copy that may be written to.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from runner.state import StateInfo, Tree, map_tensors

_DTYPES: Mapping[str, torch.dtype] = {
    str(dtype): dtype
    for dtype in (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
}


def pack(
    tree: Tree, info: StateInfo, *, rank: int = 0, of: int = 1, keep: int = 6
) -> dict[str, Any]:
    """Return a picklable mapping of plain values and uint8 arrays.

    The tree is share `rank` of `of`; `keep` says how many steps the watchdog has room for.
    """
    arrays: list[np.ndarray[Any, np.dtype[np.uint8]]] = []

    def out(tensor: torch.Tensor) -> dict[str, Any]:
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        arrays.append(flat.view(torch.uint8).numpy())
        return {"__tensor__": len(arrays) - 1, "dtype": str(tensor.dtype), "shape": [*tensor.shape]}

    return {
        "info": asdict(info),
        "rank": rank,
        "of": of,
        "keep": keep,
        "tree": map_tensors(out, tree),
        "arrays": arrays,
    }


def unpack(payload: Mapping[str, Any]) -> tuple[Tree, StateInfo]:
    """Return the state that `pack` took, in tensors of their own."""
    arrays = payload["arrays"]

    def back(node: Any) -> Any:
        if isinstance(node, Mapping):
            if "__tensor__" in node:
                return _tensor(arrays[node["__tensor__"]], node["dtype"], node["shape"])
            return {key: back(value) for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return type(node)(back(value) for value in node)
        return node

    return back(payload["tree"]), StateInfo(**payload["info"])


def _tensor(raw: Any, dtype: str, shape: list[int]) -> torch.Tensor:
    if raw.size == 0:
        return torch.empty(shape, dtype=_DTYPES[dtype])
    return torch.from_numpy(np.array(raw, copy=True)).view(_DTYPES[dtype]).reshape(shape)
