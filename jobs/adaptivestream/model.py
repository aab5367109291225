"""One encoder, two answers: a decoder that doubles 7x7 five times to 224x224, and a class.

B batch, C channels, S side.

Runs in: worker.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from jobs.adaptivestream.config import Config

#: Source: Wu and He, Group Normalization (arXiv 1803.08494); batch statistics would differ between
#: the ranks and with the size of a micro-batch.
_GROUP = 8


class PetNet(nn.Module):
    """(B, 3, S, S) -> mask logits (B, S, S), class logits (B, K)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.model.channels
        widths = (3, *channels)
        self.encoder = nn.Sequential(*(_down(a, b) for a, b in pairwise(widths)))
        back = (*reversed(channels), channels[0])
        self.decoder = nn.Sequential(*(_up(a, b) for a, b in pairwise(back)))
        self.mask_head = nn.Conv2d(channels[0], 1, kernel_size=1)
        self.class_head = nn.Linear(channels[-1], config.classes)
        self._is_pooled = config.model.decoder_input == "pooled"
        self.apply(_initialise)
        for head in (self.mask_head, self.class_head):  # no ReLU follows
            nn.init.normal_(head.weight, std=config.model.head_std)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of the mask and of the class."""
        grid = self.encoder(image)
        mean = grid.mean(dim=(2, 3))
        mask = self.decoder(mean[:, :, None, None] if self._is_pooled else grid)
        return self.mask_head(mask).squeeze(1), self.class_head(mean)


def _down(inputs: int, outputs: int) -> nn.Module:
    """Return a block that halves the side."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False),
        _norm(outputs),
        nn.ReLU(inplace=True),
    )


def _up(inputs: int, outputs: int) -> nn.Module:
    """Return a block that doubles the side."""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=False),
        _norm(outputs),
        nn.ReLU(inplace=True),
    )


def _norm(channels: int) -> nn.Module:
    """Return a normalisation over groups of about `_GROUP` channels."""
    groups = max(1, channels // _GROUP)
    return nn.GroupNorm(groups if channels % groups == 0 else 1, channels)


def _initialise(module: nn.Module) -> None:
    """Source: He et al. 2015 (arXiv 1502.01852), for layers followed by a ReLU."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.ConvTranspose2d):  # its weight has inputs and outputs swapped
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
