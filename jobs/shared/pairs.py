"""Random changes to a training pair: one move carries input and target alike.

A seed project flipped the input and not the target: three quarters of its pairs were out of
register, and nothing but a noisy validation told of it. Here a move is drawn once and applied to
both, whatever their channels and resolutions: they cannot part unless a setting asks for it.

Arrays are channel-first (C, H, W) or (H, W); only the last two axes are moved.

Runs in: worker (pure).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from runner.spec import Config as Section

Array = npt.NDArray[Any]
ScalarT = TypeVar("ScalarT", bound=np.generic)


class PairAugmentConfig(Section):
    """What is done to a training pair."""

    flip: bool = Field(True, description="Mirror rows and columns, each with probability 1/2.")
    rotate90: bool = Field(
        True,
        description="Turn by 0 to 3 quarters, each as likely; half turns only where height and "
        "width differ. With the flips these are the eight symmetries of the square.",
    )
    moves_target: bool = Field(
        True,
        description="Whether the target is moved with the input. False rebuilds a seed project's "
        "bug: pairs out of register.",
    )
    intensity_probability: float = Field(
        0.0, ge=0, le=1, description="Probability of each of the changes below, to the input alone."
    )
    gain: float = Field(0.1, ge=0, lt=1, description="Contrast times 1 +- this.")
    shift: float = Field(0.1, ge=0, description="Brightness +- this, in units of the input.")
    noise: float = Field(0.02, ge=0, description="Largest Gaussian noise, in units of the input.")


@dataclass(frozen=True, slots=True)
class Move:
    """One of the symmetries of the square, the same for arrays of any resolution."""

    flips_rows: bool
    flips_columns: bool
    quarter_turns: int

    def apply(self, array: npt.NDArray[ScalarT]) -> npt.NDArray[ScalarT]:
        """Return the array with its last two axes moved, contiguous."""
        if self.flips_rows:
            array = array[..., ::-1, :]
        if self.flips_columns:
            array = array[..., ::-1]
        return np.ascontiguousarray(np.rot90(array, self.quarter_turns, axes=(-2, -1)))


def draw_move(config: PairAugmentConfig, rng: np.random.Generator, *, is_square: bool) -> Move:
    """Return a random move; it takes three numbers from `rng`, whatever the settings."""
    rows, columns, turns = rng.random() < 0.5, rng.random() < 0.5, int(rng.integers(4))
    allowed = turns if is_square else 2 * (turns // 2)
    return Move(
        flips_rows=config.flip and bool(rows),
        flips_columns=config.flip and bool(columns),
        quarter_turns=allowed if config.rotate90 else 0,
    )


class PairAugmentation:
    """The augmentation of a configuration; all its randomness comes from the caller's generator."""

    def __init__(self, config: PairAugmentConfig) -> None:
        self._config = config

    def __call__(
        self, source: Array, target: Array, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Return input and target moved alike, and the input's intensities changed."""
        moved, target = self.move(source, target, rng)
        return self._change_intensities(moved, rng), target

    def move(self, source: Array, target: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return input and target moved alike, values untouched."""
        is_square = all(array.shape[-1] == array.shape[-2] for array in (source, target))
        move = draw_move(self._config, rng, is_square=is_square)
        return move.apply(source), move.apply(target) if self._config.moves_target else target

    def _change_intensities(self, source: Array, rng: np.random.Generator) -> Array:
        config = self._config
        if not config.intensity_probability or source.dtype != np.float32:
            return source
        wanted = rng.random(3) < config.intensity_probability
        gain, shift = 1 + config.gain * rng.uniform(-1, 1), config.shift * rng.uniform(-1, 1)
        if wanted[0]:
            source = source * np.float32(gain)
        if wanted[1]:
            source = source + np.float32(shift)
        if wanted[2]:
            noise = rng.normal(0.0, config.noise * rng.random(), source.shape)
            source = source + noise.astype(np.float32)
        return source
