"""Carries a probe of learning rates through: each trial is one rollback to the same checkpoint.

To the ranks a trial is a rollback like any other, so they need to know nothing of probes. What is
saved during a trial is tainted: only the state that every trial starts from may be restored.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from watchdog.place import Place
from watchdog.policies import ladder
from watchdog.policies.probe import choose
from watchdog.records import Verdict
from watchdog.steps import JudgedStep
from watchdog.trials import Stage, Trials


class Prober:
    """One probe, begun by the verdict `first`; its methods return the next verdict when it is due.

    Verdicts are numbered by whoever issues them. Once the probe `is_over`, `rows` hold the
    comparison. `base_scale` was in force before.
    """

    def __init__(
        self,
        first: Verdict,
        lr_scales: tuple[float, ...],
        base_scale: float,
        place: Place,
        config: ladder.Config,
    ) -> None:
        self._place = place
        self._config = config
        self._trials = Trials(base_scale, lr_scales, config.probe_steps)
        self._first = first
        self.base_scale = base_scale
        self.rows: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether every trial had its turn."""
        return self._trials.stage is Stage.OVER

    @property
    def restored_step(self) -> int | None:
        """Return the step that every trial starts from; None before the first."""
        return self._trials.restored_step

    def restored(self, step: int) -> None:
        """Note that the run went back; to another step than before, nothing can be compared."""
        self._trials.restored(step)

    def note(self, judged: JudgedStep) -> Verdict | None:
        """Take a step of a trial in; after its last, order what follows."""
        if self.is_over:
            return self._conclude()
        return self._next() if self._trials.note(judged) else None

    def fail(self, why: str) -> Verdict:
        """End a trial that broke down, and order what follows."""
        self._trials.fail(why)
        return self._next()

    def _next(self) -> Verdict:
        if not self._trials.advance():
            return self._conclude()
        trial, count = self._trials.current, len(self._trials.trials)
        number = self._trials.trials.index(trial) + 1
        reason = (
            f"trial {number} of {count} from step {self.restored_step}: learning rate "
            f"x {trial.lr_scale:g} for policy.probe_steps={self._config.probe_steps} steps"
        )
        return self._order(trial.lr_scale, reason)

    def _conclude(self) -> Verdict:
        fallback = self.base_scale * self._config.lr_factor
        choice = choose(self._trials.done, self.base_scale, fallback)
        self.rows = choice.rows
        return self._order(choice.lr_scale, choice.reason)

    def _order(self, lr_scale: float, reason: str) -> Verdict:
        step = self.restored_step
        return dataclasses.replace(
            self._first,
            t_s=self._place.t_s,
            generation=self._place.generation,
            step=self._place.step,
            reason=reason,
            onset_step=self._first.onset_step if step is None else step + 1,
            lr_scale=lr_scale,
            skip_samples=(),
        )
