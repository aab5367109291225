"""Faults of random shape, size and onset in healthy real logs: what no threshold was tuned on.

A seed that was never tried is a blind test; one that was looked at is none any more.

    python -m bench.random_faults --seed 1 [--cases 120] [--traces FOLDER]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.judgement import judge
from bench.real_logs import Log, read_logs, records
from watchdog.baseline import Baseline, fit, median
from watchdog.foreign import Row

#: Shapes that call for an act.
ACTIONABLE = frozenset({"half healed", "shift", "NaN burst"})
SHAPES = ("heals", "heals in a line", "two that heal", "half healed", "shift", "NaN burst", "NaN")

_BEFORE, _AFTER = 1200, 150
_LEAST_BEFORE, _LEAST_AFTER = 200, 70
_TRAIN = 400
#: Losses that show whether a raised level still stands above what was before.
_STANDS = slice(24, 48)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: `height` and `shift` in the (log) loss, the others in records."""

    shape: str
    height: float
    rise: int
    fall: int
    kept: float
    shift: float
    gap: int
    burst: int

    def raised_by(self, k: int) -> float:
        """Return what the loss of the `k`-th record since the onset is raised by; NaN is NaN."""
        if self.shape.startswith("NaN"):
            return math.nan if k < (1 if self.shape == "NaN" else self.burst) else 0.0
        if self.shape == "shift":
            return self.shift
        second = self._spike(k - self.gap) if self.shape == "two that heal" else 0.0
        return self._spike(k) + second

    def _spike(self, k: int) -> float:
        if k < self.rise:
            return self.height * max(0, k + 1) / self.rise
        if self.shape == "heals in a line":
            return self.height * max(0.0, 1 - (k - self.rise) / self.fall)
        left = math.exp(-4.6 * (k - self.rise) / self.fall)
        return self.height * (max(self.kept, left) if self.shape == "half healed" else left)

    @property
    def stays(self) -> float:
        """Return what the loss is raised by for good."""
        return {"shift": self.shift, "half healed": self.height * self.kept}.get(self.shape, 0.0)


def draw(shape: str, noise: float, rng: random.Random) -> Fault:
    """Return a fault of random size; heights are a third more to thrice the loss, 10 sigma up."""
    return Fault(
        shape=shape,
        height=max(math.log(rng.uniform(1.3, 3.0)), rng.uniform(10, 40) * noise),
        rise=rng.randint(1, 4),
        fall=rng.randint(5, 30),
        kept=rng.uniform(0.35, 0.7),
        shift=rng.uniform(3, 8) * noise,
        gap=rng.randint(12, 40),
        burst=rng.randint(3, 12),
    )


def main() -> int:
    """Judge the cases and print a line a shape."""
    parser = argparse.ArgumentParser(prog="python -m bench.random_faults")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cases", type=int, default=120)
    folder = Path(__file__).resolve().parents[2] / "shared" / "traces"
    parser.add_argument("--traces", type=Path, default=folder)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    logs = [log for log in read_logs(options.traces) if log.label == "healthy"]
    logs = [log for log in logs if len(log.losses) > _TRAIN]
    found: dict[str, list[int | None]] = {shape: [] for shape in SHAPES}
    for number in range(options.cases):
        shape = SHAPES[number % len(SHAPES)]
        found[shape] += _case(rng.choice(logs), shape, rng)
    for shape, latencies in found.items():
        hits = sorted(late for late in latencies if late is not None)
        wanted = "acted on" if shape in ACTIONABLE else "acted on, though none should be"
        print(f"{shape}: {len(hits)} of {len(latencies)} {wanted}; latencies {hits}")
    return 0


def _case(log: Log, shape: str, rng: random.Random) -> list[int | None]:
    """Return the latency of the verdict, None for none; nothing for a case that is no fault."""
    rows = [row for row in log.rows if row.loss is not None and math.isfinite(row.loss)]
    onset = int(len(rows) * rng.uniform(0.35, 0.85))
    start = max(0, onset - _BEFORE)
    rows, onset = rows[start : onset + _AFTER], onset - start
    losses = [row.loss for row in rows if row.loss is not None]
    picture = fit(list(enumerate(losses[max(0, onset - 128) : onset])), 0.001)
    if picture is None or onset < _LEAST_BEFORE or len(rows) - onset < _LEAST_AFTER:
        return []
    fault = draw(shape, picture.noise, rng)
    if fault.stays and not _is_visible(fault, picture, losses, onset):
        return []
    bad = [_raised(row, fault.raised_by(k), picture) for k, row in enumerate(rows[onset:])]
    acts, _ = judge(records(log, [*rows[:onset], *bad]))
    return [next((at - onset for at in acts if at >= onset), None)]


def _is_visible(fault: Fault, picture: Baseline, losses: Sequence[float], onset: int) -> bool:
    """Whether the loss did not fall past the fault by itself, as `bench.injections` has it."""
    scaled = [picture.scaled(loss) for loss in losses]
    rise = median(scaled[onset:][_STANDS]) + fault.stays - median(scaled[onset - 16 : onset])
    return rise >= fault.stays / 2


def _raised(row: Row, by: float, picture: Baseline) -> Row:
    loss = row.loss if row.loss is not None else math.nan
    value = loss * math.exp(by) if picture.is_log else loss + by
    return dataclasses.replace(row, loss=value, val_loss=None, val_metric=None)


if __name__ == "__main__":
    sys.exit(main())
