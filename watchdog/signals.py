"""Everything the detectors look at: bounded quantities derived from the records, nothing else.

Detectors keep no state; this is where it lives. Each record costs a constant amount, and going
back to a checkpoint takes back what was learned from the superseded steps, so that the curve that
is judged is the one that counts.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from pydantic import Field

from watchdog.baseline import Baseline, fit, level
from watchdog.curve import Curve
from watchdog.finiteness import Finiteness, SampleLog
from watchdog.gradients import Gradients
from watchdog.pace import Heartbeat, RankPace
from watchdog.records import EvalReport
from watchdog.repeats import Repeats
from watchdog.settings import Config
from watchdog.steps import JudgedStep
from watchdog.stride import stride
from watchdog.validations import Validation
from watchdog.whereabouts import PhaseTimes, Whereabouts

#: Chosen: records from one look at the longer stretches to the next; twice as many in an old run.
_BLOCK_RECORDS = 16
_OLD_RECORDS = 1024
#: Chosen: a run this young is looked at each time; it costs little, and may be all there is.
_YOUNG_RECORDS = 64
#: Chosen: a median of as many losses is where a run began, but for noise.
_START_RECORDS = 8


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
        128, ge=16, le=1024, description="Healthy losses that the forecast band rests on."
    )
    gap_steps: int = Field(
        24,
        ge=1,
        le=64,
        description="Newest losses kept out of the baseline, so that a slow rise is seen before "
        "the baseline has learned it; a young run keeps half as many as it has learned.",
    )
    refit_steps: int = Field(16, ge=1, le=64, description="Steps between two fits of the baseline.")
    min_noise_ratio: float = Field(
        0.005, gt=0, lt=1, description="Least noise of the loss assumed, as a share of it."
    )


class Signals:
    """The quantities of one run. The core writes, detectors read the public attributes.

    `history` holds the judged steps, oldest first. `gap` the newest losses, not yet in `baseline`.
    `excursion` the losses since the onset of a suspicion, during which the baseline is frozen;
    None while nothing is suspected. `wander` says how far, in robust standard deviations, the
    level of a gap's worth of healthy losses has strayed from its forecast, and `strays` is the same
    sorted. Progress is looked for
    after `since_step` only: an intervention or a rising rate changed the run there, and
    `comparable_steps` losses were judged since; the run is `age_steps` losses old. `curve` is the
    smoothed loss of all of them, `origin` the first since the picture was last learned anew,
    `start` the first of the run. `stride` is how many optimizer steps a record stands for.
    `bad_checkpoint_step` is that of a checkpoint just saved whose weights or optimizer state are
    not finite. `max_lr` is the peak of the job's own rate, without `lr_scale`.
    """

    def __init__(self, config: SignalsConfig) -> None:
        self._config = config
        self.history: deque[JudgedStep] = deque(maxlen=config.history_steps)
        self.gap: deque[tuple[int, float]] = deque(maxlen=config.gap_steps)
        self.excursion: deque[tuple[int, float]] | None = None
        self.wander: deque[float] = deque(maxlen=256)
        self.strays: list[float] = []
        self.start: deque[float] = deque(maxlen=_START_RECORDS)
        self.validations: deque[Validation] = deque(maxlen=512)
        self.finiteness = Finiteness(size=256)
        self.samples = SampleLog()
        self.gradients = Gradients()
        self.repeats = Repeats()
        self.repeated_validations = Repeats()
        self.heartbeat = Heartbeat()
        self.ranks = RankPace()
        self.whereabouts = Whereabouts()
        self.phase_times = PhaseTimes()
        self.baseline: Baseline | None = None
        self.bad_checkpoint_step: int | None = None
        self.has_new_validation = False
        self.is_validation_only = True
        self.max_lr: float | None = None
        self.since_step = -1
        self.comparable_steps = 0
        self.origin: tuple[int, float] | None = None
        self.stride = 1
        self.curve = Curve()
        self.lr_scale = 1.0
        self._healthy: deque[tuple[int, float]] = deque(maxlen=config.baseline_steps)
        self._gap_steps = config.gap_steps
        self._fitted = 0
        self._seen_steps = 0
        self._wandered = 0
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

    @property
    def is_block_due(self) -> bool:
        """Whether it is time again to ask the detectors that look at longer stretches."""
        if self._seen_steps < _YOUNG_RECORDS:
            return True
        records = _BLOCK_RECORDS * (2 if self._seen_steps > _OLD_RECORDS else 1)
        return self._seen_steps % max(1, records // self.stride) == 0

    def observe_step(self, judged: JudgedStep) -> None:
        """Take a complete step in, as evidence; the baseline learns it when it is settled."""
        self.history.append(judged)
        self.whereabouts.moved()
        self._seen_steps += 1
        if self._seen_steps < _BLOCK_RECORDS or self._seen_steps % _BLOCK_RECORDS == 0:
            self.stride = stride(self.history)
        self._observe_lr(judged)
        self.gradients.add(judged)
        self.repeats.add(judged.step, judged.loss)
        if judged.loss is None or not math.isfinite(judged.loss):
            return
        point = (judged.step, judged.loss)
        self.curve.add(*point)
        self.origin = self.origin or point
        if len(self.start) < _START_RECORDS:
            self.start.append(judged.loss)
        self._last_loss = judged.loss
        self.comparable_steps += 1
        if self.excursion is not None:
            self.excursion.append(point)
        else:
            self._learn(point)

    def settle(self) -> None:
        """Let the baseline learn what left the gap, once nobody suspects the newest step."""
        self.has_new_validation = False
        if self.excursion is None and self._fitted >= self._config.refit_steps:
            if self._seen_steps - self._wandered >= len(self.gap):
                self._note_wander(self.gap)
            self._refit()

    def freeze(self, onset_step: int) -> None:
        """Stop learning: the losses from `onset_step` on are under suspicion."""
        if self.excursion is None:
            self._healthy.extend(point for point in self.gap if point[0] < onset_step)
            self._refit()
            self.excursion = deque(
                (point for point in self.gap if point[0] >= onset_step),
                maxlen=self._config.history_steps,
            )
            self.gap.clear()

    def thaw(self) -> None:
        """Go on learning after a suspicion that came to nothing; its losses are left out."""
        self._note_wander(self.excursion or ())
        self._drop_excursion()

    def relearn(self, step: int) -> None:
        """Start the picture of a healthy run anew after `step`: it has changed for good.

        Nothing was done about it, so how far it strayed is how this run strays.
        """
        self.thaw()
        self._healthy.clear()
        self.finiteness.clear()
        self.repeats.clear()
        self.repeated_validations.clear()
        self.gradients.clear()
        self.baseline = None
        self.origin = None
        self._fitted = 0
        self._compare_after(step)

    def rewind(self, restored_step: int, lr_scale: float) -> None:
        """Forget what came after `restored_step`: those steps are superseded."""
        self.lr_scale = lr_scale
        self._drop_excursion()
        while self.history and self.history[-1].step > restored_step:
            self.history.pop()
        while self._healthy and self._healthy[-1][0] > restored_step:
            self._healthy.pop()
        while self.validations and self.validations[-1].step > restored_step:
            self.validations.pop()
        self.curve.truncate(restored_step)
        self.finiteness.truncate(restored_step)
        self.samples.truncate(restored_step)
        self.gradients.clear()
        self.repeats.clear()
        self.repeated_validations.clear()
        if self.origin is not None and self.origin[0] > restored_step:
            self.origin = None
        self._last_lr = None
        self._compare_after(restored_step)
        self._refit()

    def observe_validation(self, record: EvalReport) -> None:
        """Remember a validation; one of an older step than the last is ignored."""
        if self.validations and record.step <= self.validations[-1].step:
            return
        self.validations.append(Validation(record.step, record.val_loss, record.val_metric))
        known = record.val_loss if record.val_loss is not None else record.val_metric
        self.repeated_validations.add(record.step, known)
        self.has_new_validation = True

    def stand_in(self, record: EvalReport) -> JudgedStep | None:
        """Return a validation as a step of a log that holds validations only, else None.

        The third validation without a training loss is the first to stand in; as soon as a training
        loss is told, those that stood in are forgotten.
        """
        if not self.is_validation_only or len(self.validations) < 3 or not self.has_new_validation:
            return None
        if record.val_loss is None:
            return None
        return JudgedStep(
            step=record.step,
            t_s=record.t_s,
            loss=record.val_loss,
            grad_norm=None,
            lr=None,
            is_finite=math.isfinite(record.val_loss),
        )

    def begin_training(self) -> None:
        """Forget the validations that stood in for training losses: there are some after all."""
        self.is_validation_only = False
        if self.origin is not None:
            self.history.clear()
            self.start.clear()
            self.curve = Curve()
            self.relearn(self.since_step)

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

    def _learn(self, point: tuple[int, float]) -> None:
        """Move the oldest losses of the gap into the baseline; a young run keeps a small gap."""
        gap, healthy = self.gap, self._healthy
        keep = min(self._gap_steps, max(4, len(healthy) // 2))
        while len(gap) >= keep:
            healthy.append(gap.popleft())
            self._fitted += 1
        gap.append(point)

    def _drop_excursion(self) -> None:
        self.excursion = None
        self.gap.clear()

    def _note_wander(self, points: Sequence[tuple[int, float]]) -> None:
        """Remember how far healthy losses stray together; a suspicion that healed is healthy.

        The beginning of a shift may be among them and hides small ones. Counting a stray only once
        the next gap's worth of losses raised no suspicion doubled the acts on healthy logs.
        """
        baseline, size = self.baseline, self._config.gap_steps
        if baseline is None or len(points) < size:
            return
        self._wandered = self._seen_steps
        listed = list(points)
        chunks = [listed[i : i + size] for i in range(0, len(listed) - size + 1, size)]
        worst = max(level([baseline.excess(x, at) for at, x in chunk], 2.0) for chunk in chunks)
        if math.isfinite(worst):
            self.wander.append(worst)
            self.strays = sorted(self.wander)

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
