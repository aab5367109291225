"""Generator and discriminator in one module, so that one optimizer and one backward serve both.

Shapes: B batch, C channels, H W pixels of the input, S the scale.

Runs in: worker.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import interpolate

from jobs.bigearthnet.blocks import SLOPE, conv3, initialise, rrdb, rrfdb
from jobs.bigearthnet.config import ModelConfig


class Generator(nn.Module):
    """Input bands at low resolution to the target bands at `scale` times as many pixels a side."""

    def __init__(self, config: ModelConfig, *, inputs: int, outputs: int, scale: int) -> None:
        super().__init__()
        self.scale, self.outputs = scale, outputs
        self.adds_to_bicubic = config.adds_to_bicubic
        features = config.features
        self.head = conv3(inputs, features)
        blocks = [rrdb(config) for _ in range(config.rrdb)]
        blocks += [rrfdb(config) for _ in range(config.rrfdb)]
        self.body = nn.Sequential(*blocks, conv3(features, features))
        steps: list[nn.Module] = []
        for _ in range(scale.bit_length() - 1):  # each step doubles the side
            steps += [nn.Upsample(scale_factor=2, mode="nearest"), conv3(features, features)]
            steps.append(nn.LeakyReLU(SLOPE))
        last = conv3(features, outputs)
        self.tail = nn.Sequential(*steps, last)
        initialise(self)
        # The correction begins at nothing, or the image at a dim one.
        with torch.no_grad():
            last.weight.mul_(0.0 if self.adds_to_bicubic else 0.1)

    def forward(self, low_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the enlarged target bands, not clamped: beyond the range a clamp has no slope."""
        first = self.head(low_BCHW)
        made: torch.Tensor = self.tail(first + self.body(first))
        return made + bicubic(low_BCHW, self.outputs, self.scale) if self.adds_to_bicubic else made


def bicubic(low_BCHW: torch.Tensor, bands: int, scale: int) -> torch.Tensor:
    """Return the first `bands` of the input enlarged by bicubic interpolation."""
    return interpolate(
        low_BCHW[:, :bands].float(), scale_factor=scale, mode="bicubic", align_corners=False
    )


class Discriminator(nn.Module):
    """One logit for each neighbourhood of the image: measured (high) or generated (low)."""

    def __init__(self, features: int, bands: int) -> None:
        super().__init__()
        sizes = [bands, features, 2 * features, 4 * features]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(sizes[-1], 1, 3, padding=1))

    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        """Return logits, a map an eighth of the image's side."""
        logits: torch.Tensor = self.layers(image_BCHW)
        return logits


@dataclass(frozen=True, slots=True)
class Judged:
    """What the losses need; `heard` has the generator's gradient, the others the discriminator's.

    It is a plain tuple of tensors to DDP, which looks for parameters in what a forward returns.
    """

    made: torch.Tensor
    heard: torch.Tensor
    of_made: torch.Tensor
    of_measured: torch.Tensor


class SuperResolution(nn.Module):
    """The generator, and a discriminator where the run has a second stage."""

    def __init__(self, generator: Generator, discriminator: Discriminator | None) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator

    def forward(
        self, low_BCHW: torch.Tensor, high_BCHW: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return the image alone, or in training the parts of `Judged` in their order.

        The discriminator judges what was made twice: once with its own parameters held fixed, for
        the generator, and once with the image held fixed, for itself. So the sum of both losses
        has, in one backward, the very gradients of two separate ones.
        """
        made: torch.Tensor = self.generator(low_BCHW)
        if high_BCHW is None or self.discriminator is None:
            return made
        shown = made.clamp(-1, 1)
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        heard: torch.Tensor = functional_call(self.discriminator, fixed, (shown,))
        of_made = self.discriminator(shown.detach())
        return made, heard, of_made, self.discriminator(high_BCHW)
