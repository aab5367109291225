"""The weighted sum of five losses; unlabelled voxels contribute nothing to value or gradient.

What masking means, term by term:

- focal, boundary: a mean over labelled voxels.
- Dice, clDice, connectivity: prediction and truth are both set to background at unlabelled voxels
  first, so overlaps, skeletons and pairs of voxels are those of the labelled part alone. A sheet
  that runs into an unlabelled region ends there, in both.

All is computed in float32, whatever autocast says: products and sums over a patch overflow fp16.

Shapes: B batch, C channel (1), D H W depth, height, width.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from monai.losses import DiceLoss, FocalLoss, SoftclDiceLoss
from torch import nn

from jobs.vesuvius.config import LossConfig
from jobs.vesuvius.volumes import SURFACE, UNLABELLED

#: The logit that unlabelled voxels get: finite, and no surface.
MASKED_LOGIT = -20.0


class SurfaceLoss(nn.Module):
    """The weighted sum of the terms whose weight is not 0."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self._config = config
        # Smoothing of one voxel keeps the gradient of a patch without surface bounded.
        self._dice = DiceLoss(smooth_nr=1.0, smooth_dr=1.0)
        self._cldice = SoftclDiceLoss(iter_=config.skeleton_iterations)
        self._focal = FocalLoss(
            gamma=config.focal_gamma, alpha=config.focal_alpha, reduction="none"
        )

    def forward(
        self, logits_BCDHW: torch.Tensor, label_BCDHW: torch.Tensor, distance_BCDHW: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss, a mean over the batch."""
        terms = self.terms(logits_BCDHW, label_BCDHW, distance_BCDHW)
        weights = self._config.model_dump(include=set(terms))
        return torch.stack([weights[name] * value for name, value in terms.items()]).sum()

    def terms(
        self, logits_BCDHW: torch.Tensor, label_BCDHW: torch.Tensor, distance_BCDHW: torch.Tensor
    ) -> Mapping[str, torch.Tensor]:
        """Return each term in use, unweighted, by the name of its weight."""
        with torch.autocast(logits_BCDHW.device.type, enabled=False):
            known = label_BCDHW != UNLABELLED
            truth = (label_BCDHW == SURFACE).float()
            # Replaced, not multiplied by zero: NaN times zero would come back.
            logits = torch.where(known, logits_BCDHW.float(), MASKED_LOGIT)
            probability = torch.where(known, torch.sigmoid(logits), 0.0)
            distance = distance_BCDHW.float()
            computed: Mapping[str, Callable[[], torch.Tensor]] = {
                "dice": lambda: self._dice(probability, truth),
                "focal": lambda: self._weighted_focal(logits, truth, known),
                "boundary": lambda: labelled_mean(probability * distance, known),
                "cldice": lambda: self._cldice(probability, truth),
                "connectivity": lambda: connectivity_loss(probability, truth),
            }
            return {
                name: term() for name, term in computed.items() if getattr(self._config, name) > 0
            }

    def _weighted_focal(
        self, logits: torch.Tensor, truth: torch.Tensor, known: torch.Tensor
    ) -> torch.Tensor:
        focal: torch.Tensor = self._focal(logits, truth)
        if self._config.class_weights is not None:
            of_class = self._config.class_weights
            focal = focal * torch.where(
                truth > 0, of_class.get("surface", 1.0), of_class.get("background", 1.0)
            )
        return labelled_mean(focal, known)


def labelled_mean(value_BCDHW: torch.Tensor, known_BCDHW: torch.Tensor) -> torch.Tensor:
    """Return the mean over the labelled voxels of each sample, then over samples.

    By sample first, so that the loss of a batch is the mean of its samples' however they are
    shared out over ranks and micro-batches. A sample with none counts as 0.
    """
    axes = tuple(range(1, value_BCDHW.ndim))
    total = torch.where(known_BCDHW, value_BCDHW, 0.0).sum(axes)
    return (total / known_BCDHW.sum(axes).clamp(min=1)).mean()


def connectivity_loss(probability_BCDHW: torch.Tensor, truth_BCDHW: torch.Tensor) -> torch.Tensor:
    """Return one minus the soft Dice of *connections* between voxels that share a face.

    Two neighbours are connected when both are surface: truth t_i t_j, prediction p_i p_j. A voxel
    missing inside a sheet costs all its connections, up to six, one missing at a rim fewer: so
    holes and cuts weigh more than a rim that is off by the same number of voxels.

    Source: the connectivity map is that of Kampffmeyer et al. 2018, ConnNet (arXiv:1804.07836),
    the product of the two voxels' votes that of Yang et al. 2022, BiconNet (arXiv:2103.00334).
    Chosen: Dice instead of their cross entropy, since over 90 % of the pairs are unconnected.
    """
    axes = (1, 2, 3, 4)
    overlap = probability_BCDHW.new_zeros(probability_BCDHW.shape[0])
    total = torch.zeros_like(overlap)
    for axis in (2, 3, 4):
        length = probability_BCDHW.shape[axis] - 1
        predicted = _neighbours(probability_BCDHW, axis, length)
        true = _neighbours(truth_BCDHW, axis, length)
        overlap = overlap + (predicted * true).sum(axes)
        total = total + predicted.sum(axes) + true.sum(axes)
    return (1.0 - (2.0 * overlap + 1.0) / (total + 1.0)).mean()


def _neighbours(value: torch.Tensor, axis: int, length: int) -> torch.Tensor:
    """Return the product of each voxel with the next along the axis."""
    return value.narrow(axis, 0, length) * value.narrow(axis, 1, length)
