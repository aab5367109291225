"""What a run remembers of earlier interventions, and the history that a policy decides from.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from watchdog.budget import BudgetBook, StrikeBook
from watchdog.diagnosis import Diagnosis
from watchdog.history import History
from watchdog.incidents import Incident
from watchdog.place import Place
from watchdog.rate import Rate
from watchdog.records import STUCK_CAUSES, Action, Cause, Storage, Verdict
from watchdog.signals import Signals
from watchdog.trust import Trust, TrustBook


class TrackRecord:
    """Charges, strikes and skipped samples of one run over all its attempts.

    `skip_samples` are all that were ever ordered to be left out; `lowered_for` is the cause that
    the learning rate was last lowered for.
    """

    def __init__(
        self, place: Place, signals: Signals, trust: TrustBook, rate: Rate, period_steps: int
    ) -> None:
        self._place = place
        self._signals = signals
        self._trust = trust
        self._rate = rate
        self._period_steps = period_steps
        self._strikes = StrikeBook()
        self._progress_at_start = 0
        self.budget = BudgetBook()
        self.last_verdict_id = 0
        self.lowered_for = Cause.PLATEAU
        self._skip_samples: tuple[int, ...] = ()
        self._left_out: list[tuple[int, ...]] = []
        self.micro_batch_scale = 1.0

    def attempt_started(self) -> None:
        """Remember how far the run was, so that an attempt without progress is known as one."""
        self._progress_at_start = self.budget.progress_steps

    def ordered(self, verdict: Verdict) -> None:
        """Note a verdict that was issued."""
        self.last_verdict_id = verdict.verdict_id
        self.leave_out(verdict.skip_samples)
        if verdict.cause is Cause.OUT_OF_MEMORY and verdict.action is Action.RESTART:
            self.micro_batch_scale = verdict.micro_batch_scale
        if verdict.is_numeric:
            self.lowered_for = verdict.cause

    def leave_out(self, samples: tuple[int, ...]) -> None:
        """Note samples that no attempt may consume again, whatever the verdict names of them."""
        if samples:
            self._left_out.append(samples)

    @property
    def skip_samples(self) -> tuple[int, ...]:
        """Return all samples that were ever to be left out, sorted.

        Of ten thousand ranks they are many: the list is made when somebody plans with it, and not
        between a bad step and its verdict.
        """
        if self._left_out:
            self._skip_samples = tuple(sorted(set(self._skip_samples).union(*self._left_out)))
            self._left_out.clear()
        return self._skip_samples

    @property
    def max_steps(self) -> int | None:
        """Return how long the run is; None where nobody said."""
        return self._place.max_steps

    def acted(self, cause: Cause, restored_step: int) -> None:
        """Note that an intervention against a cause was carried out."""
        self._strikes.acted(cause, self.budget.progress_steps, restored_step)

    def proven(self, cause: Cause, *, helped: bool, was_undone: bool) -> None:
        """Note what the proof of an intervention said."""
        self._strikes.proven(cause, helped=helped, was_undone=was_undone)
        if helped and cause in STUCK_CAUSES:
            self.budget.give_back(cause)

    def history(self, incident: Incident, diagnosis: Diagnosis) -> History:
        """Return what the policy decides about a diagnosis from."""
        progress, cause = self.budget.progress_steps, diagnosis.cause
        # By the time a verdict is found undone, more ranks have told of the bad steps' samples.
        bad_steps = incident.bad_steps if diagnosis.pending is not None else diagnosis.bad_steps
        is_new = diagnosis.pending is None
        return History(
            verdict_id=self.last_verdict_id + 1,
            incident=incident.id,
            t_s=self._place.t_s,
            attempt=self._place.attempt,
            generation=self._place.generation,
            step=self._place.step,
            lr_scale=self._rate.scale,
            max_lr=self._peak_lr(),
            spent=self.budget.spent(self._period_steps),
            trusted_steps=self._trust.steps(Trust.TRUSTED),
            durable_steps=self._trust.steps(Trust.TRUSTED, Storage.DURABLE),
            skip_samples=self.skip_samples,
            bad_samples=self._signals.samples.of(bad_steps),
            bad_batches=self._signals.samples.one_of_each(bad_steps),
            repeats=self._strikes.repeats(cause, progress) if is_new else 0,
            undone=self._strikes.undone(cause),
            micro_batch_scale=self.micro_batch_scale,
            last_restored_step=self._strikes.last_restored_step(cause),
            has_progress=progress > self._progress_at_start,
            max_steps=self._place.max_steps,
        )

    def here(self, incident: str = "") -> History:
        """Return the history as far as no diagnosis is needed."""
        return History(
            verdict_id=self.last_verdict_id + 1,
            incident=incident,
            t_s=self._place.t_s,
            attempt=self._place.attempt,
            generation=self._place.generation,
            step=self._place.step,
            lr_scale=self._rate.scale,
            max_steps=self._place.max_steps,
        )

    def _peak_lr(self) -> float | None:
        """Return the peak of the job's own rate; None while it rises, for it is not known yet."""
        latest = self._signals.latest
        if latest is None or self._signals.since_step >= latest.step - 1:
            return None
        return self._signals.max_lr
