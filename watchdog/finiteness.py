"""Which of the newest steps were not finite, and whose samples the newest steps consumed.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import bisect

from watchdog.records import StepReport


class Finiteness:
    """Which of the newest steps were not finite, known from the first rank that reports one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._steps: list[int] = []
        self._bad: set[int] = set()

    def note(self, step: int, is_finite: bool) -> bool:
        """Take one report in; return whether it is the first to call this step bad."""
        if not self._steps or step > self._steps[-1]:
            self._steps.append(step)
        elif self._steps[bisect.bisect_left(self._steps, step)] != step:
            bisect.insort(self._steps, step)
        if len(self._steps) > self._size:
            self._bad.discard(self._steps.pop(0))
        if is_finite or step in self._bad or step < self._steps[0]:
            return False
        self._bad.add(step)
        return True

    def newest(self, count: int) -> list[int]:
        """Return the bad steps among the newest `count` steps, oldest first."""
        if not self._bad:
            return []
        return [step for step in self._steps[-count:] if step in self._bad]

    def truncate(self, step: int) -> None:
        """Forget the steps beyond `step`."""
        del self._steps[bisect.bisect_right(self._steps, step) :]
        self._bad &= set(self._steps)

    def clear(self) -> None:
        """Forget everything."""
        self._steps.clear()
        self._bad.clear()


class SampleLog:
    """Whose samples the newest steps consumed; bounded by steps and by the number of samples."""

    def __init__(self, max_steps: int = 512, max_samples: int = 262144) -> None:
        self._max_steps = max_steps
        self._max_samples = max_samples
        self._by_step: dict[int, set[int]] = {}
        self._steps: list[int] = []  # the keys, sorted
        self._count = 0

    def note(self, report: StepReport) -> None:
        """Remember the samples of a report."""
        if not report.sample_ids:
            return
        samples = self._by_step.get(report.step)
        if samples is None:
            samples = self._by_step[report.step] = set()
            bisect.insort(self._steps, report.step)
        self._count -= len(samples)
        samples.update(report.sample_ids)
        self._count += len(samples)
        while len(self._steps) > self._max_steps or (
            self._count > self._max_samples and len(self._steps) > 1
        ):
            self._count -= len(self._by_step.pop(self._steps.pop(0)))

    def of(self, steps: tuple[int, ...]) -> tuple[int, ...]:
        """Return the samples of `steps`, sorted, all ranks together."""
        return tuple(sorted(set().union(*(self._by_step.get(step, ()) for step in steps))))

    def one_of_each(self, steps: tuple[int, ...]) -> tuple[int, ...]:
        """Return one sample of each of `steps`, sorted: it names the batch to whoever knows it."""
        known = (self._by_step.get(step) for step in steps)
        return tuple(sorted({min(samples) for samples in known if samples}))

    def truncate(self, step: int) -> None:
        """Forget the steps beyond `step`: they will be consumed anew."""
        kept = bisect.bisect_right(self._steps, step)
        for late in self._steps[kept:]:
            self._count -= len(self._by_step.pop(late))
        del self._steps[kept:]
