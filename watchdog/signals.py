"""Everything the detectors look at: bounded quantities derived from the records, nothing else.

Detectors keep no state; this is where it lives. Each record costs a constant amount, and going
back to a checkpoint takes back what was learned from the superseded steps, so that the curve that
is judged is the one that counts.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from dataclasses import dataclass

from pydantic import Field

from watchdog.baseline import Baseline, fit
from watchdog.curve import Curve
from watchdog.records import EvalReport, StepReport
from watchdog.settings import Config
from watchdog.steps import JudgedStep


class SignalsConfig(Config):
    """How much is remembered. Counts are optimizer steps (of a foreign log: its records)."""

    lag_steps: int = Field(
        16,
        ge=1,
        le=256,
        description="A rank whose reports are further behind the newest step is not waited for.",
    )
    history_steps: int = Field(
        512, ge=64, le=65536, description="Judged steps kept one by one, for incidents and proofs."
    )
    baseline_steps: int = Field(
        64, ge=16, le=1024, description="Healthy losses that the forecast band rests on."
    )
    gap_steps: int = Field(
        8,
        ge=1,
        le=64,
        description="Newest losses kept out of the baseline, so that a slow rise is seen before "
        "the baseline has learned it.",
    )
    refit_steps: int = Field(8, ge=1, le=64, description="Steps between two fits of the baseline.")
    min_noise_ratio: float = Field(
        0.005, gt=0, lt=1, description="Least noise of the loss assumed, as a share of it."
    )


@dataclass(frozen=True, slots=True)
class Validation:
    """One validation: loss (lower is better) and metric (higher is better), None if not logged."""

    step: int
    loss: float | None
    metric: float | None


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

    def __init__(self, max_steps: int = 512, max_samples: int = 65536) -> None:
        self._max_steps = max_steps
        self._max_samples = max_samples
        self._by_step: dict[int, set[int]] = {}
        self._count = 0

    def note(self, report: StepReport) -> None:
        """Remember the samples of a report."""
        if not report.sample_ids:
            return
        samples = self._by_step.setdefault(report.step, set())
        self._count -= len(samples)
        samples.update(report.sample_ids)
        self._count += len(samples)
        while len(self._by_step) > self._max_steps or (
            self._count > self._max_samples and len(self._by_step) > 1
        ):
            self._count -= len(self._by_step.pop(min(self._by_step)))

    def of(self, steps: tuple[int, ...]) -> tuple[int, ...]:
        """Return the samples of `steps`, sorted, all ranks together."""
        return tuple(sorted(set().union(*(self._by_step.get(step, ()) for step in steps))))

    def truncate(self, step: int) -> None:
        """Forget the steps beyond `step`: they will be consumed anew."""
        for late in [s for s in self._by_step if s > step]:
            self._count -= len(self._by_step.pop(late))


class Signals:
    """The quantities of one run. The core writes, detectors read the public attributes.

    `history` holds the judged steps, oldest first. `gap` the newest losses, not yet in `baseline`.
    `excursion` the losses since the onset of a suspicion, during which the baseline is frozen;
    None while nothing is suspected. Progress is looked for after `since_step` only: an intervention
    or a rising rate changed the run there, and `comparable_steps` losses were judged since; the
    run is `age_steps` losses old. `curve` is the smoothed loss of all of them.
    `bad_checkpoint_step` is that of a checkpoint just saved whose weights or optimizer state are
    not finite. `max_lr` is the peak of the job's own rate, without `lr_scale`.
    """

    def __init__(self, config: SignalsConfig) -> None:
        self._config = config
        self.history: deque[JudgedStep] = deque(maxlen=config.history_steps)
        self.gap: deque[tuple[int, float]] = deque(maxlen=config.gap_steps)
        self.excursion: deque[tuple[int, float]] | None = None
        self.validations: deque[Validation] = deque(maxlen=256)
        self.finiteness = Finiteness(size=256)
        self.samples = SampleLog()
        self.baseline: Baseline | None = None
        self.bad_checkpoint_step: int | None = None
        self.has_new_validation = False
        self.max_lr: float | None = None
        self.since_step = -1
        self.comparable_steps = 0
        self.curve = Curve()
        self.lr_scale = 1.0
        self._healthy: deque[tuple[int, float]] = deque(maxlen=config.baseline_steps)
        self._fitted = 0
        self._last_lr: float | None = None
        self._last_loss: float | None = None

    @property
    def latest(self) -> JudgedStep | None:
        """Return the newest judged step."""
        return self.history[-1] if self.history else None

    @property
    def age_steps(self) -> int:
        """Return how many losses the curve holds, superseded ones left out."""
        return len(self.curve.blocks) * self.curve.size

    @property
    def last_loss(self) -> float | None:
        """Return the last finite loss, over all generations."""
        return self._last_loss

    def observe_step(self, judged: JudgedStep) -> None:
        """Take a complete step in, as evidence; the baseline learns it when it is settled."""
        self.history.append(judged)
        self._observe_lr(judged)
        if judged.loss is None or not math.isfinite(judged.loss):
            return
        point = (judged.step, judged.loss)
        self.curve.add(*point)
        self._last_loss = judged.loss
        self.comparable_steps += 1
        if self.excursion is not None:
            self.excursion.append(point)
            return
        if len(self.gap) == self.gap.maxlen:
            self._healthy.append(self.gap[0])
            self._fitted += 1
        self.gap.append(point)

    def settle(self) -> None:
        """Let the baseline learn what left the gap, once nobody suspects the newest step."""
        self.has_new_validation = False
        if self.excursion is None and self._fitted >= self._config.refit_steps:
            self._refit()

    def freeze(self, onset_step: int) -> None:
        """Stop learning: the losses from `onset_step` on are under suspicion."""
        if self.excursion is None:
            self.excursion = deque(
                (point for point in self.gap if point[0] >= onset_step),
                maxlen=self._config.history_steps,
            )
            self.gap.clear()

    def thaw(self) -> None:
        """Go on learning after a suspicion that came to nothing; its losses are left out."""
        self.excursion = None
        self.gap.clear()

    def relearn(self, step: int) -> None:
        """Start the picture of a healthy run anew after `step`: it has changed for good."""
        self.thaw()
        self._healthy.clear()
        self.finiteness.clear()
        self.baseline = None
        self._fitted = 0
        self._compare_after(step)

    def rewind(self, restored_step: int, lr_scale: float) -> None:
        """Forget what came after `restored_step`: those steps are superseded."""
        self.lr_scale = lr_scale
        self.thaw()
        while self.history and self.history[-1].step > restored_step:
            self.history.pop()
        while self._healthy and self._healthy[-1][0] > restored_step:
            self._healthy.pop()
        while self.validations and self.validations[-1].step > restored_step:
            self.validations.pop()
        self.curve.truncate(restored_step)
        self.finiteness.truncate(restored_step)
        self.samples.truncate(restored_step)
        self._last_lr = None
        self._compare_after(restored_step)
        self._refit()

    def observe_validation(self, record: EvalReport) -> None:
        """Remember a validation; one of an older step than the last is ignored."""
        if self.validations and record.step <= self.validations[-1].step:
            return
        self.validations.append(Validation(record.step, record.val_loss, record.val_metric))
        self.has_new_validation = True

    def judged_step(self, step: int) -> JudgedStep | None:
        """Return what was judged at `step`, None if that is forgotten or unknown."""
        for judged in reversed(self.history):
            if judged.step <= step:
                return judged if judged.step == step else None
        return None

    def usual_step_s(self, before_step: int, span: int = 32) -> float | None:
        """Return the seconds a step took just before `before_step`; None when that is unknown."""
        newest = next((j for j in reversed(self.history) if j.step < before_step), None)
        if newest is None:
            return None
        older = self.judged_step(newest.step - span) or self.history[0]
        if older.step >= newest.step:
            return None
        return max(0.0, (newest.t_s - older.t_s) / (newest.step - older.step))

    def _observe_lr(self, judged: JudgedStep) -> None:
        lr = judged.lr
        if lr is None or not math.isfinite(lr) or lr < 0:
            return
        own_lr = judged.own_lr(self.lr_scale)
        if own_lr is not None and math.isfinite(own_lr):
            self.max_lr = max(self.max_lr or 0.0, own_lr)
        if self._last_lr is not None and lr > self._last_lr * (1 + 1e-6):
            self._compare_after(judged.step - 1)
        self._last_lr = lr

    def _compare_after(self, step: int) -> None:
        self.since_step = step
        self.comparable_steps = 0

    def _refit(self) -> None:
        self.baseline = fit(self._healthy, self._config.min_noise_ratio)
        self._fitted = 0
