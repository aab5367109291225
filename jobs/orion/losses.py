"""The weighted sum of up to five terms, all in float32.

Shapes: B batch, C markers, H W pixels.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.nn.functional import l1_loss, mse_loss

from jobs.orion.config import LossConfig


def weighted_terms(
    made_BCHW: torch.Tensor, measured_BCHW: torch.Tensor, config: LossConfig
) -> dict[str, torch.Tensor]:
    """Return each term whose weight is not 0, times its weight."""
    made, measured = made_BCHW.float(), measured_BCHW.float()
    computed: Mapping[str, Callable[[], torch.Tensor]] = {
        "mse": lambda: mse_loss(made, measured),
        "l1": lambda: l1_loss(made, measured),
        "boundary": lambda: boundary_loss(made, measured),
        "variance": lambda: variance_penalty(made, config),
        "focal": lambda: focal_loss(made, measured, config),
    }
    weights = {name: float(getattr(config, name)) for name in computed}
    return {name: weights[name] * term() for name, term in computed.items() if weights[name] > 0}


def total(terms: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the sum of the terms."""
    return torch.stack(list(terms.values())).sum()


def boundary_loss(made_BCHW: torch.Tensor, measured_BCHW: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute error of the differences between neighbours, down and across.

    A blurred border has the right brightness almost everywhere and the wrong slope.
    """
    down = l1_loss(made_BCHW.diff(dim=-2), measured_BCHW.diff(dim=-2))
    across = l1_loss(made_BCHW.diff(dim=-1), measured_BCHW.diff(dim=-1))
    return (down + across) / 2


def variance_penalty(made_BCHW: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """Return how flat the predicted channels are; the mean over samples and channels."""
    variance = made_BCHW.var(dim=(-2, -1), correction=0)
    if config.variance_form == "exponential":
        return torch.exp(-100 * variance).mean()
    return (config.variance_target - variance).clamp(min=0).square().mean()


def focal_loss(
    made_BCHW: torch.Tensor, measured_BCHW: torch.Tensor, config: LossConfig
) -> torch.Tensor:
    """Return the absolute error, large ones weighing more.

    Source: Yang et al. 2021, Delving into deep imbalanced regression (arXiv:2102.09554), focal-R.
    """
    error = (made_BCHW - measured_BCHW).abs()
    weight = (2 * torch.sigmoid(config.focal_beta * error) - 1) ** config.focal_gamma
    return (weight * error).mean()
