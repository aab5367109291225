"""The floor: what the best constant prediction scores, which a run that learns must beat.

Its training loss goes to the watchdog's `trivial` detector, which knows by it a run that is stuck
at answering the same for every input.

Runs in: preflight's own process.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping

from runner.preflight.bench import Bench
from runner.preflight.constant import best_constant_losses
from runner.preflight.findings import Finding, passed, unchecked

ORDER = 44
TITLE = "floor"

_BATCHES = 4
_LIMIT_S = 5.0


def check(bench: Bench) -> Iterator[Finding]:
    """Measure the loss of the best constant, and ask the job for its metric."""
    known = dict(bench.task.trivial_metrics())
    listed = ", ".join(f"{name} {value:.4g}" for name, value in known.items())
    numbers = {f"floor_{name}": value for name, value in known.items()}
    exact = bench.task.trivial_loss()
    if exact is not None:
        yield _known(exact, 0.0, listed, numbers)
        return
    bench.first_loss  # noqa: B018  # raises when there is none
    count = max(1, len(bench.good_samples) // _BATCHES)
    batches = [bench.batch_of(count, i * count) for i in range(_BATCHES)]
    losses = [v for v in best_constant_losses(bench, batches, _LIMIT_S) if math.isfinite(v)]
    if not losses:
        yield unchecked(f"a constant has no finite loss; the job says {listed or 'nothing'}")
        return
    floor = bench.floor_loss = statistics.fmean(losses)
    spread = statistics.stdev(losses) / math.sqrt(len(losses)) if len(losses) > 1 else 0.0
    yield _known(floor, spread, listed, numbers)


def _known(floor: float, error: float, listed: str, numbers: Mapping[str, float]) -> Finding:
    text = f"the best constant prediction has loss {floor:.4g}"
    if error:
        text += f" +- {error:.2g}"
    if listed:
        text += f", {listed}"
    return passed(text, floor_loss=floor, floor_loss_error=error, **numbers)
