"""The three losses: pixels' cross entropy and Dice without the border, and the class's.

They stay finite because the logits are clamped and no probability's logarithm is taken; a value
that is not finite is never replaced by another, it has to be seen.

B batch, S side, K classes.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from jobs.adaptivestream.config import LossConfig
from jobs.adaptivestream.data import IGNORED


class PetLoss(nn.Module):
    """The weighted sum; of mask logits (B, S, S), class logits (B, K), mask and label."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self._config = config

    def forward(
        self,
        logits: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor,
        label: torch.Tensor,
    ) -> torch.Tensor:
        """Return the sum of the weighted terms."""
        return torch.stack(list(self.terms(logits, mask, label).values())).sum()

    def terms(
        self,
        logits: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor,
        label: torch.Tensor,
    ) -> Mapping[str, torch.Tensor]:
        """Return the weighted terms by name, those of weight 0 left out.

        Raises:
            ValueError: the mask's logits are not of the target's size.
        """
        config = self._config
        pixels, classes = (self._limited(part.float()) for part in logits)
        _require_same_shape(pixels, mask)
        known = mask != IGNORED
        truth = torch.where(known, mask, 0).float()
        weighted: dict[str, torch.Tensor] = {}
        if config.mask_cross_entropy:
            entropy = self._pixel_entropy(pixels, truth)
            mean = torch.where(known, entropy, 0.0).sum() / known.sum().clamp(min=1)
            weighted["mask_cross_entropy"] = config.mask_cross_entropy * mean
        if config.mask_dice:
            weighted["mask_dice"] = config.mask_dice * _dice_loss(pixels, truth, known)
        if config.class_cross_entropy:
            value = self._class_entropy(classes, label)
            weighted["class_cross_entropy"] = config.class_cross_entropy * value
        return weighted

    def _limited(self, logits: torch.Tensor) -> torch.Tensor:
        limit = self._config.logit_limit
        return logits if limit is None else logits.clamp(-limit, limit)

    def _pixel_entropy(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        if self._config.form == "logits":
            return binary_cross_entropy_with_logits(logits, truth, reduction="none")
        probability = logits.sigmoid()
        return -(truth * probability.log() + (1 - truth) * (1 - probability).log())

    def _class_entropy(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        if self._config.form == "logits":
            return cross_entropy(logits, label)
        return -logits.softmax(dim=1).gather(1, label[:, None]).log().mean()


def _dice_loss(logits: torch.Tensor, truth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return 1 - Dice of the batch's known pixels."""
    probability = logits.sigmoid() * known
    overlap = (probability * truth).sum()
    return 1 - (2 * overlap + 1) / (probability.sum() + truth.sum() + 1)


def _require_same_shape(logits: torch.Tensor, mask: torch.Tensor) -> None:
    if logits.shape != mask.shape:
        got, wanted = (" x ".join(map(str, t.shape[1:])) for t in (logits, mask))
        raise ValueError(
            f"the decoder's output is {got} pixels, its target {wanted}: five doublings of a 7 x 7 "
            f"grid give 224 x 224, of a pooled 1 x 1 grid 32 x 32; set "
            f"task.model.decoder_input=grid"
        )
