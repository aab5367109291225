"""One validation item on the untrained model: it runs, and names the metrics it promises.

Runs in: preflight's own process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from runner.preflight.bench import Bench, Unavailable, synchronise
from runner.preflight.findings import Finding, failed, passed, some, warned

ORDER = 50
TITLE = "validation"

_AGAIN_S = 5.0


def check(bench: Bench) -> Iterator[Finding]:
    """Score one item and look for the loss and the metric in the summary."""
    if bench.first_forward.error:
        raise Unavailable("the forward pass fails; see shapes")
    size = bench.task.validation_size()
    if size < 1:
        yield warned("there is nothing to validate with", "hold some samples out")
        return
    model = bench.fresh_model().eval()
    cast = torch.autocast(bench.device.type, bench.autocast, enabled=bool(bench.autocast))
    try:
        with torch.no_grad(), cast:
            item, seconds = _timed(bench, model)
            if seconds < _AGAIN_S:  # the first may have read files that are kept from then on
                item, seconds = _timed(bench, model)
            bench.validation_item_s = seconds
        metrics = bench.task.summarize([item])
    except Exception as error:
        yield failed(
            f"validation fails: {type(error).__name__}: {error}", "repair evaluate or summarize"
        )
        return
    missing = [name for name in ("val_loss", bench.task.metric) if name not in metrics]
    if missing:
        yield warned(
            f"the summary has no {' and no '.join(missing)} (it has {', '.join(metrics)})",
            "the watchdog judges by val_loss and the metric; name them in evaluate or summarize",
        )
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        yield warned(
            f"{', '.join(broken)} not finite for the untrained model",
            "define the metric where nothing is predicted",
        )
    if not missing and not broken:
        listed = some((f"{name} {value:.4g}" for name, value in metrics.items()), 5)
        yield passed(
            f"{size} items of {seconds:.2g} s; untrained: {listed}",
            validation_item_s=seconds,
            validation_items=float(size),
        )


def _timed(bench: Bench, model: nn.Module) -> tuple[Mapping[str, Any], float]:
    started = time.perf_counter()
    item = bench.task.evaluate(model, 0)
    synchronise(bench.device)
    return item, time.perf_counter() - started
