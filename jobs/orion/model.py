"""The network: a U-Net from three colours to C markers, with a straight way past it.

Runs in: worker.
"""

from __future__ import annotations

import torch
from monai.networks.nets import BasicUNet
from torch import nn

from jobs.orion.catalogue import STAIN_CHANNELS
from jobs.orion.config import ModelConfig


class StainToMarkers(nn.Module):
    """B 3 H W in [0, 1] to B C H W.

    Instance norm forgets how dark a patch is as a whole, which the markers depend on; a linear map
    of the colours, pixel by pixel, is added to the U-Net's output. Batch norm would keep it, but
    with few crops a rank its statistics are noise, and they differ from rank to rank.
    """

    def __init__(self, config: ModelConfig, channels: int) -> None:
        super().__init__()
        base = config.base_features
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=STAIN_CHANNELS,
            out_channels=channels,
            features=(base, base, 2 * base, 4 * base, 8 * base, base),
            norm=("instance", {"affine": True}),
            dropout=config.dropout,
        )
        self.direct = nn.Conv2d(STAIN_CHANNELS, channels, 1)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(layer.weight, a=0.1, nonlinearity="leaky_relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        # Begin near a constant: the output layers add up many features.
        for last in (self.unet.final_conv, self.direct):
            nn.init.normal_(last.weight, std=0.02)

    def forward(self, stain_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the markers, not clamped."""
        markers: torch.Tensor = self.unet(stain_BCHW) + self.direct(stain_BCHW)
        return markers
