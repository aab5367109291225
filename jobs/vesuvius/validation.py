"""Scoring a held-out volume: a crop of bounded size, a sliding window over it, the metrics.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from jobs.vesuvius.competition import competition_score
from jobs.vesuvius.config import Config
from jobs.vesuvius.data import normalised
from jobs.vesuvius.distance import signed_distance
from jobs.vesuvius.losses import SurfaceLoss
from jobs.vesuvius.metrics import dice, surface_dice
from jobs.vesuvius.sampling import densest_corner
from jobs.vesuvius.volumes import LoadedVolume


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """What is scored of a volume: image, label and distance map, all BCDHW with B = C = 1."""

    volume_id: str
    image: torch.Tensor
    label: torch.Tensor
    distance: torch.Tensor


def validation_crop(volume: LoadedVolume, config: Config) -> Crop:
    """Return the window with most surface, at most `validation.max_side` voxels a side."""
    d, h, w = (min(size, config.validation.max_side) for size in volume.label.shape)
    corner = densest_corner(volume.label, (d, h, w))
    window = tuple(slice(at, at + side) for at, side in zip(corner, (d, h, w), strict=True))
    label = np.ascontiguousarray(volume.label[window])
    distance = signed_distance(label, config.loss.boundary_clip)
    return Crop(
        volume_id=volume.volume_id,
        image=torch.from_numpy(normalised(volume, window))[None, None],
        label=torch.from_numpy(label)[None, None],
        distance=torch.from_numpy(distance)[None, None],
    )


def logits_of(model: nn.Module, image: torch.Tensor, config: Config) -> torch.Tensor:
    """Return one logit a voxel for a BCDHW image of any size, window by window."""
    logits: torch.Tensor = sliding_window_inference(
        image,
        roi_size=config.patch_size,
        sw_batch_size=config.validation.windows_per_forward,
        predictor=model,
        overlap=config.validation.overlap,
        mode="gaussian",
    )
    return logits


def score_crop(
    model: nn.Module, crop: Crop, loss: SurfaceLoss, config: Config, device: torch.device
) -> Mapping[str, float | str | None]:
    """Return `val_loss`, the scores of `SCORES` and the volume's id; None where undefined."""
    logits = logits_of(model, crop.image.to(device), config)
    value = loss(logits, crop.label.to(device), crop.distance.to(device))
    predicted, label = (logits > 0)[0, 0].cpu().numpy(), crop.label[0, 0].numpy()
    surface = surface_dice(predicted, label, config.validation.surface_tolerance)
    score = competition_score(predicted, label, surface)
    return {
        "volume_id": crop.volume_id,
        "val_loss": float(value.item()),
        "dice": dice(predicted, label),
        "surface_dice": surface,
        "topo_score": score.topo,
        "voi_score": score.voi,
        "competition_score": score.score,
    }
