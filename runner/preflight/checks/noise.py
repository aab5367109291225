"""Inputs and targets that are noise: unreadable files were replaced by random numbers.

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, failed, passed, unchecked, warned
from runner.preflight.structure import LEAST_PIXELS, neighbour_correlation, spectral_flatness

ORDER = 22
TITLE = "structure"

#: Chosen: the roughest of the images seen here (speckle, microscopy) have over 0.3 after
#: augmentation. Of n values, noise stays within three and a half deviations, 3.5 / sqrt(n).
_NOISE_CORRELATION, _DEVIATIONS = 0.1, 3.5
#: Chosen: between the 0.56 of white noise and the 0.1 of images.
_NOISE_FLATNESS = 0.35
#: Chosen: one in ten is enough to spoil a mean loss; a single one is told.
_FAIL_SHARE = 0.1


def check(bench: Bench) -> Iterator[Finding]:
    """Report the share of samples without any structure, for input and target."""
    samples = bench.good_samples
    keys = [key for key in (bench.input_key(), bench.target_key()) if key is not None]
    images = {
        key: [sample[key] for sample in samples] for key in keys if _is_image(samples[0].get(key))
    }
    if not images:
        yield unchecked("no image among the samples: neighbours mean nothing")
    for key, tensors in images.items():
        yield _judge(key, tensors)


def _is_image(value: object) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and value.ndim >= 2
        and value[0].numel() >= LEAST_PIXELS
    )


def _judge(key: str, tensors: Sequence[torch.Tensor]) -> Finding:
    facts = [_structure(tensor) for tensor in tensors]
    known = [fact for fact in facts if fact is not None]
    if not known:
        return unchecked(f"{key} is constant")
    # Channel, or the whole of an image without a channel axis.
    values = tensors[0][0].numel() if tensors[0].ndim >= 3 else tensors[0].numel()
    highest = max(_NOISE_CORRELATION, _DEVIATIONS / values**0.5)
    noisy = [fact for fact in known if fact[0] < highest and fact[1] > _NOISE_FLATNESS]
    share = len(noisy) / len(known)
    typical = sorted(correlation for correlation, _ in known)[len(known) // 2]
    numbers = {f"{key}_noise_share": share, f"{key}_neighbour_correlation": typical}
    if not noisy:
        return passed(f"{key}: neighbours correlate by {typical:.2f} (noise: 0)", **numbers)
    correlation, flatness = noisy[0]
    text = (
        f"{key} is noise in {len(noisy)} of {len(known)} samples ({share:.0%}): neighbours "
        f"correlate by {correlation:.2f} (an image: over 0.5), spectral flatness {flatness:.2f} "
        "(white noise: 0.56)"
    )
    remedy = (
        "look for code that puts random numbers in the place of a file it cannot read; leave such "
        "files out and count them"
    )
    return (failed if share >= _FAIL_SHARE else warned)(text, remedy, **numbers)


def _structure(tensor: torch.Tensor) -> tuple[float, float] | None:
    """Return correlation and flatness of the most structured channel; None: all constant."""
    found = []
    channels = tensor if tensor.ndim >= 3 else tensor[None]
    for channel in channels[:8]:
        values = channel.float().numpy()
        correlation = neighbour_correlation(values)
        if correlation is not None:
            found.append((correlation, spectral_flatness(values)))
    return max(found) if found else None
