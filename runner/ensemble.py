"""Several states of one model as one model: its output is the mean of theirs.

Checkpoints of the end of a run err in different directions; their mean output errs less than each.

Runs in: worker.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn


class Ensemble(nn.Module):
    """Members of the same architecture; a forward pass costs as many as there are members."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @classmethod
    def of(cls, model: nn.Module, states: Sequence[Mapping[str, Any]]) -> Ensemble:
        """Return the model with copies of it that hold other states."""
        members = [model]
        for state in states:
            member = copy.deepcopy(model)
            member.load_state_dict(state)
            members.append(member)
        return cls(members)

    def forward(self, *inputs: Any, **named: Any) -> torch.Tensor:
        """Return the mean of what the members return, which must be a tensor."""
        outputs = [member(*inputs, **named) for member in self.members]
        return torch.stack([output.float() for output in outputs]).mean(dim=0)
