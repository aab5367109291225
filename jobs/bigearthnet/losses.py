"""Pixel losses of stage 1, the adversarial loss of stage 2, and the discriminator's own.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, mse_loss, softplus

from jobs.bigearthnet.config import LossConfig
from jobs.bigearthnet.model import Judged


def pixel_terms(
    made: torch.Tensor, measured: torch.Tensor, config: LossConfig
) -> dict[str, torch.Tensor]:
    """Return the weighted pixel losses whose weight is not 0, in float32."""
    made, measured = made.float(), measured.float()
    terms = {"l1": (config.l1, l1_loss), "mse": (config.mse, mse_loss)}
    return {name: weight * loss(made, measured) for name, (weight, loss) in terms.items() if weight}


def adversarial_term(judged: Judged, config: LossConfig) -> torch.Tensor:
    """Return the weighted loss of not being taken for measured: -log D of what was made."""
    return config.adversarial * softplus(-judged.heard.float()).mean()


def discriminator_term(judged: Judged, config: LossConfig) -> torch.Tensor:
    """Return a zero whose gradient is that of the discriminator's cross-entropy, weighted.

    The reported loss stays the generator's: the discriminator's rises as the generator gets
    better, and a curve of both would say nothing.
    """
    of_measured, of_made = judged.of_measured.float(), judged.of_made.float()
    loss = binary_cross_entropy_with_logits(
        of_measured, torch.ones_like(of_measured)
    ) + binary_cross_entropy_with_logits(of_made, torch.zeros_like(of_made))
    return config.discriminator * (loss - loss.detach())


def total(terms: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the sum of the terms."""
    return torch.stack(list(terms.values())).sum()
