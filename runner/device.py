"""Where one rank computes, and in which precision.

Runs in: worker.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Placement:
    """One rank's place: its device, its number among `world_size`, and the autocast type.

    `local_world_size` is the number of ranks on this node.
    """

    rank: int
    world_size: int
    device: torch.device
    local_world_size: int = 1
    autocast: torch.dtype | None = None

    @property
    def uses_scaler(self) -> bool:
        """Whether gradients must be scaled: fp16 underflows, bf16 does not."""
        return self.autocast is torch.float16

    def cast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context in which forward passes run."""
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast)


def choose_autocast(
    precision: str, device: torch.device, *, can_scale: bool = True
) -> torch.dtype | None:
    """Return the autocast type for a precision setting; None is plain fp32.

    `can_scale` says whether the strategy goes with a scaler, without which fp16 is of no use.
    """
    match precision:
        case "fp32":
            return None
        case "bf16":
            return torch.bfloat16
        case "fp16":
            return torch.float16
        case _:
            pass
    if device.type != "cuda":
        return None
    if torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16 if can_scale else None


def local_device() -> torch.device:
    """Return the GPU of this process if there is one, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
