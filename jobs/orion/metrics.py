"""How good predicted markers are: Pearson's correlation and PSNR, from torchmetrics.

Runs in: worker.
"""

from __future__ import annotations

import warnings

import torch
from torchmetrics.functional.image import peak_signal_noise_ratio
from torchmetrics.functional.regression import pearson_corrcoef


def correlation(made_CHW: torch.Tensor, measured_CHW: torch.Tensor) -> float:
    """Return the mean over channels of the correlation between pixels; 0 where one is flat."""
    made, measured = (image.float().flatten(1).T for image in (made_CHW, measured_CHW))
    with warnings.catch_warnings():
        # A flat channel has no correlation; torchmetrics says so and returns NaN, we count 0.
        warnings.simplefilter("ignore")
        of_channels = pearson_corrcoef(made.contiguous(), measured.contiguous())
    return float(of_channels.nan_to_num(0.0).mean())


def psnr(made_CHW: torch.Tensor, measured_CHW: torch.Tensor) -> float:
    """Return the PSNR in dB of an image that is clamped to [0, 1] first."""
    made = made_CHW.float().clamp(0, 1)
    return float(peak_signal_noise_ratio(made, measured_CHW.float(), data_range=1.0))
