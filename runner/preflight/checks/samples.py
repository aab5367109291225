"""The samples as the model gets them: readable, of one shape, finite, of a sensible size, varied.

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from runner.preflight.bench import Bench, Unavailable
from runner.preflight.findings import Finding, failed, passed, some, warned

ORDER = 21
TITLE = "samples"

#: Source: the super-resolution project among the seeds: targets of a smaller standard deviation
#: than this taught nothing, and its owner checks it before training.
_LEAST_STD = 0.01
#: Chosen: normalised inputs stay within some standard deviations; raw bytes or counts do not.
_LARGE = 50.0
#: Chosen: a clipped highlight or a masked border takes up to a quarter of an image; more says that
#: the scaling cut off what was to be seen.
_SATURATED_SHARE = 0.3


def check(bench: Bench) -> Iterator[Finding]:
    """Report what is wrong with the numbers of the samples."""
    yield from _readable(bench)
    samples = bench.good_samples
    yield from _shapes(samples)
    keys = [key for key in _image_keys(bench) if is_number_field(samples[0].get(key))]
    problems = [f for key in keys for f in _values(key, samples, bench)]
    yield from problems
    if not problems:
        seconds = sorted(sample.seconds for sample in bench.samples)
        yield passed(
            f"{len(samples)} samples finite and varied: "
            + ", ".join(_describe(key, samples[0][key]) for key in keys),
            sample_s=seconds[len(seconds) // 2],
        )


def _image_keys(bench: Bench) -> list[str]:
    """Return what goes into the model and what it is to reproduce; all entries if unknown."""
    known = [key for key in (bench.input_key(), bench.target_key()) if key is not None]
    return known or list(bench.good_samples[0])


def is_number_field(value: Any) -> bool:
    """Whether an entry of a sample is a tensor of real numbers with more than one element."""
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel() > 1


def _readable(bench: Bench) -> Iterator[Finding]:
    taken, bad = bench.samples, [s for s in bench.samples if s.values is None]
    if not taken:
        yield failed("the training set has no sample", "check data.path and the split")
        raise Unavailable("there is no sample")
    if not bad:
        return
    share = len(bad) / len(taken)
    text = f"{len(bad)} of {len(taken)} samples raise ({share:.0%}); first: {bad[0].error}"
    remedy = "repair the files, or have the job leave them out and count them"
    # A sample that raises ends the attempt, so one is enough; the share says what to repair.
    yield failed(text, remedy, unreadable_share=share)


def _shapes(samples: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for key, first in samples[0].items():
        if not isinstance(first, torch.Tensor):
            continue
        shapes = {tuple(s[key].shape) for s in samples if isinstance(s.get(key), torch.Tensor)}
        if len(shapes) > 1:
            yield failed(
                f"{key} has {len(shapes)} shapes: {some(sorted(shapes))}; samples of different "
                "shapes make no batch",
                "crop, resize or pad in the job's transform",
            )


def _values(key: str, samples: Sequence[Mapping[str, Any]], bench: Bench) -> Iterator[Finding]:
    values = _rows([sample[key] for sample in samples])
    finite = torch.isfinite(values)
    if not finite.all():
        share = 1 - finite.float().mean().item()
        yield failed(
            f"{key} holds NaN or infinity: {share:.2%} of the values of {len(values)} samples",
            "look for a division by a standard deviation or maximum of 0 in the normalisation",
        )
        return
    std, low, high = values.std().item(), values.min().item(), values.max().item()
    flat = (values.std(dim=1) < _LEAST_STD).float().mean().item()
    numbers = {f"{key}_std": std, f"{key}_min": low, f"{key}_max": high}
    if values.shape[1] > 1 and flat > 0.5:
        yield failed(
            f"{key} hardly varies: the standard deviation within {flat:.0%} of the samples is "
            f"under {_LEAST_STD} (overall {std:.2g}, range {low:.3g} to {high:.3g})",
            "the scaling is wrong for this data; clip to percentiles 2 and 98 and map to [0, 1]",
            **numbers,
        )
        return
    if flat > 0:
        yield warned(
            f"{key} is nearly constant in {flat:.0%} of the samples",
            "leave empty samples out, or check the files",
            **numbers,
        )
    yield from _range(key, values, bench, numbers)


def _rows(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return one row a sample; of samples that differ in size, the first alone."""
    is_even = len({tensor.numel() for tensor in tensors}) == 1
    return torch.stack([t.float().flatten() for t in (tensors if is_even else tensors[:1])])


def _range(
    key: str, values: torch.Tensor, bench: Bench, numbers: Mapping[str, float]
) -> Iterator[Finding]:
    low, high = numbers[f"{key}_min"], numbers[f"{key}_max"]
    if key == bench.task.input_key and bench.task.input_range is not None:
        least, greatest = bench.task.input_range
        slack = 1e-4 * (greatest - least)
        if low < least - slack or high > greatest + slack:
            yield failed(
                f"{key} is from {low:.4g} to {high:.4g}, outside of {least:g} to {greatest:g}",
                "scale the inputs to the range that the model was made for",
            )
            return
    elif max(abs(low), abs(high)) > _LARGE:
        yield warned(
            f"{key} is from {low:.4g} to {high:.4g}: not normalised",
            "subtract the mean and divide by the standard deviation, or map to [0, 1]",
        )
    saturated = (values == high).float().mean().item()
    if np.unique(values.numpy()).size > 16 and saturated > _SATURATED_SHARE:
        yield failed(
            f"{saturated:.0%} of {key} are exactly its greatest value {high:.4g}: saturated",
            "the divisor is too small for this data; clip to percentiles 2 and 98 instead",
            saturated_share=saturated,
        )


def _describe(key: str, value: torch.Tensor) -> str:
    shape = " x ".join(map(str, value.shape))
    return f"{key} {shape}, std {value.float().std().item():.2g}"
