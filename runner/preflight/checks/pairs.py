"""Pairs: whether an augmentation moves input and target alike, shown by a grid warped through it.

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, failed, passed, unchecked
from runner.preflight.grid import Array, agreement, ramp

ORDER = 30
TITLE = "pairs"

#: Chosen: a flip that is left out has come with probability 1 - 2^-16 by then.
_DRAWS = 16
#: Chosen: nearest-neighbour labels, noise and changes of contrast leave above 0.95 of the ramp's
#: correlation; a flip gives -1, a quarter turn 0.
_ALIGNED = 0.8


def check(bench: Bench) -> Iterator[Finding]:
    """Send ramps along each axis through the job's own augmentation and compare what comes out."""
    image_key, target_key = bench.input_key(), bench.target_key()
    sample = bench.good_samples[0]
    image, target = sample.get(image_key or ""), sample.get(target_key or "")
    if image is None or target is None or not _is_image(image) or not _is_target(target, image):
        yield unchecked("no pair of images of like axes in the samples (input_key, target_key)")
        return
    worst = [draw_agreement(bench, image, target, draw) for draw in range(_DRAWS)]
    known = [value for value in worst if value is not None]
    if not known:
        yield unchecked("the job has no augmentation of pairs (Task.augment_pair)")
        return
    apart = [value for value in known if value < _ALIGNED]
    numbers = {"misaligned_share": len(apart) / len(known), "grid_agreement": min(known)}
    if apart:
        yield failed(
            f"{len(apart)} of {len(known)} draws of the augmentation move the target otherwise "
            f"than the input (agreement of a warped grid down to {min(known):+.2f}, wanted +1): "
            f"{len(apart) / len(known):.0%} of the training pairs are out of register",
            "apply each flip, turn, crop and warp to input and target with the same parameters",
            **numbers,
        )
        return
    yield passed(
        f"{len(known)} draws of the augmentation move both alike (grid agreement {min(known):.2f})",
        **numbers,
    )


def draw_agreement(
    bench: Bench, image: torch.Tensor, target: torch.Tensor, draw: int
) -> float | None:
    """Return the least agreement over the axes for one draw; None: the job augments nothing."""
    found = []
    spatial = image.ndim - 1
    for axis in range(spatial):
        grids = [_grid_like(value, axis, spatial) for value in (image, target)]
        out = bench.task.augment_pair(grids[0], grids[1], np.random.default_rng((7, draw)))
        if out is None:
            return None
        moved, turned = (_with_channel(part, spatial) for part in out)
        found.append(agreement(moved, turned))
    return min(found)


def _grid_like(value: torch.Tensor, axis: int, spatial: int) -> Array:
    shape = tuple(value.shape)
    if value.ndim > spatial:
        return ramp(shape, axis, value.numpy().dtype)
    # Labels may come without a channel axis.
    return ramp((1, *shape), axis, value.numpy().dtype).reshape(shape)


def _with_channel(value: Any, spatial: int) -> Array:
    array: Array = value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    whole: Array = array if array.ndim > spatial else array.reshape((1, *array.shape))
    return whole


def _is_image(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim >= 3 and min(value.shape[1:]) > 3


def _is_target(value: Any, image: torch.Tensor) -> bool:
    spatial = image.ndim - 1
    if not isinstance(value, torch.Tensor) or value.ndim not in (spatial, image.ndim):
        return False
    return min(value.shape[-spatial:]) > 3
