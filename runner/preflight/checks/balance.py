"""How evenly the classes of a classifier are filled.

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import torch

from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, passed, some, unchecked, warned

ORDER = 24
TITLE = "class balance"

#: Source: Buda et al. 2018, A systematic study of the class imbalance problem (arXiv:1710.05381):
#: the loss of accuracy is clear from a ratio of 10 on.
_RATIO = 10.0
#: Chosen: of fewer samples a class the sample says little; counts of the job are exact.
_LEAST_A_CLASS = 5


def check(bench: Bench) -> Iterator[Finding]:
    """Compare the largest class with the smallest, and look for empty ones."""
    counts = bench.task.class_counts()
    if counts:
        yield judge(counts)
        return
    seen = _seen(bench)
    if not seen or sum(seen.values()) < _LEAST_A_CLASS * len(seen):
        yield unchecked("no class counts from the job (Task.class_counts), too few samples to tell")
        return
    yield judge(seen)


def judge(counts: Mapping[str, int]) -> Finding:
    """Return the finding on these counts of training samples by class."""
    empty = [name for name, count in counts.items() if count == 0]
    filled = {name: count for name, count in counts.items() if count > 0}
    if not filled:
        return warned("every class is empty", "check the data folder")
    most, least = max(filled, key=filled.__getitem__), min(filled, key=filled.__getitem__)
    ratio = filled[most] / filled[least]
    share = filled[most] / sum(filled.values())
    text = (
        f"{len(counts)} classes of {filled[least]} ({least}) to {filled[most]} ({most}) samples, "
        f"ratio {ratio:.1f}; always saying {most} is right {share:.1%} of the time"
    )
    numbers = {"class_ratio": ratio, "majority_share": share, "empty_classes": float(len(empty))}
    if ratio < _RATIO and not empty:
        return passed(text, **numbers)
    if empty:
        text += f"; {len(empty)} have none: {some(empty)}"
    return warned(
        text,
        "weight the loss or draw the classes evenly, and judge by macro F1, not by accuracy",
        **numbers,
    )


def _seen(bench: Bench) -> dict[str, int]:
    """Return the classes of the samples where the target is one whole number."""
    key = bench.target_key()
    if key is None:
        return {}
    values = [s[key] for s in bench.good_samples if isinstance(s.get(key), torch.Tensor)]
    if not values or any(v.numel() != 1 or v.is_floating_point() for v in values):
        return {}
    counted = Counter(str(int(v)) for v in values)
    return dict(sorted(counted.items()))
