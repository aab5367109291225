"""How good an enlarged image is: PSNR and SSIM, from torchmetrics.

Images are in [-1, 1] and scored as shares of that range, in [0, 1]; SSIM is not blind to an offset.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)


def psnr_and_ssim(made_BCHW: torch.Tensor, measured_BCHW: torch.Tensor) -> tuple[float, float]:
    """Return PSNR in dB and SSIM of an image that is clamped to the range first."""
    made = (made_BCHW.float().clamp(-1, 1) + 1) / 2
    measured = (measured_BCHW.float() + 1) / 2
    psnr = peak_signal_noise_ratio(made, measured, data_range=1.0)
    ssim = structural_similarity_index_measure(made, measured, data_range=1.0)
    assert isinstance(ssim, torch.Tensor), "the full image is not asked for"
    return float(psnr), float(ssim)


def best_constant(targets_CHW: Sequence[torch.Tensor], *, median: bool) -> torch.Tensor:
    """Return the constant of each band (1, C, 1, 1) that fits all targets best.

    `median` for an absolute error, the mean for a squared one.
    """
    flat = torch.cat([target.reshape(len(target), -1) for target in targets_CHW], dim=1)
    best = flat.median(dim=1).values if median else flat.mean(dim=1)
    return best.reshape(1, -1, 1, 1)
