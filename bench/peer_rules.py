"""The published spike rules of six other projects, re-implemented on plain losses.

None of the packages is imported: their rules sit inside trainers. Each rule here follows the
defaults of its project as of this writing; an alarm is the first of neighbouring alarming records.
What a rule does not look at, it cannot alarm on: only Lightning's looks at non-finite losses, and
ZClip clips gradients where we count an alarm.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from watchdog.foreign import Row

#: Rows -> the numbers of the rows that a rule alarms at.
Rule = Callable[[Sequence[Row]], list[int]]


def lightning(rows: Sequence[Row]) -> list[int]:
    """SpikeDetection: |x - running mean| >= 2 x mean over 10 losses; non-finite alarms at once."""
    window: deque[float] = deque(maxlen=10)
    alarms = []
    for number, loss in _losses(rows):
        if not math.isfinite(loss):
            alarms.append(number)
            continue
        if window and _is_apart(loss, statistics.fmean(window)):
            alarms.append(number)
            continue
        window.append(loss)
    return _edges(alarms)


def _is_apart(loss: float, mean: float) -> bool:
    return loss > mean and abs(loss - mean) >= 2.0 * abs(mean)


def llm_foundry(rows: Sequence[Row]) -> list[int]:
    """KillLossSpike: 5 losses in a row at twice the running mean, or half a window above 10."""
    size = max(100, len(rows) // 20)
    window: deque[float] = deque(maxlen=size)
    alarms, streak = [], 0
    for number, loss in _finite(rows):
        if len(window) == size:
            streak = streak + 1 if loss >= 2 * statistics.fmean(window) else 0
            if streak > 4 or sum(x > 10 for x in window) > size / 2:
                alarms.append(number)
        window.append(loss)
    return _edges(alarms)


def olmo_core(rows: Sequence[Row]) -> list[int]:
    """Loss or gradient norm above mean + 6 standard deviations of the last 128, from 64 on."""
    return sorted({*_six_sigma(_finite(rows)), *_six_sigma(_norms(rows))})


def _six_sigma(series: Iterator[tuple[int, float]]) -> list[int]:
    window: deque[float] = deque(maxlen=128)
    total = squares = 0.0
    alarms = []
    for number, value in series:
        if len(window) >= 64:
            mean = total / len(window)
            deviation = math.sqrt(max(0.0, squares / len(window) - mean * mean))
            if value > mean + 6 * deviation:
                alarms.append(number)
        if len(window) == 128:
            total, squares = total - window[0], squares - window[0] ** 2
        window.append(value)
        total, squares = total + value, squares + value * value
    return _edges(alarms)


def zclip(rows: Sequence[Row]) -> list[int]:
    """Gradient norm with z > 2.5 against exponential averages (0.97), after 25 norms."""
    first: list[float] = []
    mean = variance = 0.0
    alarms = []
    for number, norm in _norms(rows):
        if len(first) < 25:
            first.append(norm)
            mean, variance = statistics.fmean(first), statistics.pvariance(first)
            continue
        deviation = math.sqrt(variance) + 1e-6
        value = norm
        if (norm - mean) / deviation > 2.5:
            alarms.append(number)
            value = mean + 2.5 * deviation
        mean = 0.97 * mean + 0.03 * value
        variance = 0.97 * variance + 0.03 * (value - mean) ** 2
    return _edges(alarms)


def trainscope(rows: Sequence[Row]) -> list[int]:
    """One-sided CUSUM (h 6, k 1) of the z by median and MAD of the last 200, from 30 on."""
    window: deque[float] = deque(maxlen=200)
    alarms, total = [], 0.0
    for number, loss in _finite(rows):
        if len(window) >= 30:
            z = _modified_z(loss, window)
            total = max(0.0, total + z - 1.0)
            if total > 6.0 or z > 3.5:
                alarms.append(number)
                total = 0.0
        window.append(loss)
    return _edges(alarms)


def trainspotter(rows: Sequence[Row]) -> list[int]:
    """Modified z by median and MAD of the last 21: above 6 of losses, above 10 of norms."""
    return sorted({*_by_mad(_finite(rows), 6.0), *_by_mad(_norms(rows), 10.0)})


def _by_mad(series: Iterator[tuple[int, float]], limit: float) -> list[int]:
    window: deque[float] = deque(maxlen=21)
    alarms = []
    for number, value in series:
        if len(window) == 21 and _modified_z(value, window) > limit:
            alarms.append(number)
        window.append(value)
    return _edges(alarms)


def _modified_z(value: float, window: Sequence[float]) -> float:
    middle = statistics.median(window)
    deviation = statistics.median([abs(x - middle) for x in window])
    return 0.6745 * (value - middle) / deviation if deviation > 0 else 0.0


def _losses(rows: Sequence[Row]) -> Iterator[tuple[int, float]]:
    return ((i, row.loss) for i, row in enumerate(rows) if row.loss is not None)


def _finite(rows: Sequence[Row]) -> Iterator[tuple[int, float]]:
    return ((i, loss) for i, loss in _losses(rows) if math.isfinite(loss))


def _norms(rows: Sequence[Row]) -> Iterator[tuple[int, float]]:
    for number, row in enumerate(rows):
        if row.grad_norm is not None and math.isfinite(row.grad_norm):
            yield number, row.grad_norm


def _edges(alarms: Sequence[int]) -> list[int]:
    """Return the alarms that do not follow on another one."""
    return [*alarms[:1], *(b for a, b in pairwise(alarms) if b > a + 1)]


PEERS: Mapping[str, Rule] = {
    "Lightning SpikeDetection": lightning,
    "llm-foundry KillLossSpike": llm_foundry,
    "OLMo-core": olmo_core,
    "ZClip": zclip,
    "trainscope CUSUM": trainscope,
    "trainspotter": trainspotter,
}
