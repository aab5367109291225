"""The blocks of the generator: residual-in-residual dense blocks, plain and with receptive fields.

Shapes: B batch, C features, H W pixels; every block maps BCHW to BCHW.

Source: RRDB: Wang et al. 2018, ESRGAN (arXiv:1809.00219), section 3.1. RRFDB, its form with
receptive field blocks: Shang et al. 2020 (arXiv:2005.12597), section 3.2; the receptive field
block: Liu et al. 2018 (arXiv:1711.07767).

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from jobs.bigearthnet.config import ModelConfig

#: Source: ESRGAN: the slope of its activations, the convolutions of a dense block, and the factor
#: on the initial weights that lets deep residual networks start.
SLOPE = 0.2
_DENSE = 5
_NESTED = 3
_INIT_SCALE = 0.1

#: Makes a layer from (features in, features out).
Layer = Callable[[int, int], nn.Module]


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 3 x 3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class ReceptiveField(nn.Module):
    """Four branches that look at 3 x 3, wide, tall and large surroundings, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        part = max(1, outputs // 4)
        act = nn.LeakyReLU(SLOPE)
        self.branches = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(inputs, part, 1), act, conv3(part, part)),
                _branch(inputs, part, (1, 3)),
                _branch(inputs, part, (3, 1)),
                _branch(inputs, part, (3, 3)),
            ]
        )
        self.join = nn.Conv2d(4 * part, outputs, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return what the branches see, joined, plus the shortcut."""
        seen = torch.cat([branch(x_BCHW) for branch in self.branches], dim=1)
        joined: torch.Tensor = self.join(seen) + self.shortcut(x_BCHW)
        return joined


def _branch(inputs: int, part: int, kernel: tuple[int, int]) -> nn.Module:
    """Return a branch: a small convolution, then one that skips every second and third pixel."""
    return nn.Sequential(
        nn.Conv2d(inputs, part, 1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(part, part, kernel, padding=(kernel[0] // 2, kernel[1] // 2)),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(part, part, 3, padding=3, dilation=3),
    )


class DenseBlock(nn.Module):
    """Five layers, each of which sees the input and all layers before it."""

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__()
        features, growth = config.features, config.growth
        outputs = [growth] * (_DENSE - 1) + [features]
        self.layers = nn.ModuleList(
            layer(features + index * growth, size) for index, size in enumerate(outputs)
        )
        self.act = nn.LeakyReLU(SLOPE)
        self.scale = config.residual_scale

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the input plus a share of what the layers make of it."""
        seen = [x_BCHW]
        for layer in self.layers[:-1]:
            seen.append(self.act(layer(torch.cat(seen, dim=1))))
        added: torch.Tensor = self.layers[-1](torch.cat(seen, dim=1))
        return x_BCHW + self.scale * added


class NestedBlock(nn.Module):
    """Three dense blocks with a residual around them: RRDB, or RRFDB with receptive fields."""

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(config, layer) for _ in range(_NESTED)))
        self.scale = config.residual_scale

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the input plus a share of what the blocks make of it."""
        made: torch.Tensor = self.blocks(x_BCHW)
        return x_BCHW + self.scale * made


def rrdb(config: ModelConfig) -> nn.Module:
    """Return a residual-in-residual dense block."""
    return NestedBlock(config, conv3)


def rrfdb(config: ModelConfig) -> nn.Module:
    """Return a residual-in-residual receptive field dense block."""
    return NestedBlock(config, ReceptiveField)


def initialise(module: nn.Module) -> None:
    """Give all convolutions Kaiming weights, those of dense blocks small ones, and no bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE, nonlinearity="leaky_relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    dense = (block for block in module.modules() if isinstance(block, DenseBlock))
    for layer in (layer for block in dense for layer in block.modules()):
        if isinstance(layer, nn.Conv2d):
            with torch.no_grad():
                layer.weight.mul_(_INIT_SCALE)
