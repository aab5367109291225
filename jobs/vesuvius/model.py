"""The network: a 3-D residual U-Net with one logit a voxel.

Runs in: worker.
"""

from __future__ import annotations

from monai.networks.nets import UNet
from torch import nn

from jobs.vesuvius.config import ModelConfig


def build_unet(config: ModelConfig) -> nn.Module:
    """Return the U-Net; it maps BCDHW with C = 1 to logits of the same shape.

    Instance norm, because two patches a rank are too few for batch statistics, and because it
    behaves alike in training and validation.

    Source: Kerfoot et al. 2019, Left-ventricle quantification using residual U-Net (MONAI's UNet).
    """
    net: nn.Module = UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        channels=config.channels,
        strides=(2,) * (len(config.channels) - 1),
        num_res_units=config.residual_units,
        norm="instance",
        dropout=config.dropout,
    )
    return net
