"""A run in miniature: makes the records a real run would make, and obeys the verdicts.

Faults are data: `loss_at` maps (generation, step) to what a rank reports there, `dies_at` names the
(attempt, step) at which a worker dies, `broken_weights_at` the (generation, step) of checkpoints
that are not finite. Nothing here is random unless a seed is given.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.detectors import DETECTORS
from watchdog.interventions import Conclusion
from watchdog.ledger import ledger_line
from watchdog.records import (
    Action,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    EvalReport,
    LrChanged,
    Outcome,
    Record,
    RollbackDone,
    RunStarted,
    StepReport,
    Storage,
    Verdict,
)


def only(*names: str, **settings: Any) -> WatchdogConfig:
    """Return settings with these detectors alone, so that a test is about one thing."""
    detectors = {name: {"enabled": name in names} for name in DETECTORS}
    return WatchdogConfig.model_validate({"detectors": detectors, **settings})


LossAt = Callable[[int, int], float]


def report(step: int, loss: float | None = 1.0, **fields: Any) -> StepReport:
    """Return one rank's report; a second a step, samples numbered through the step."""
    is_finite = loss is None or math.isfinite(loss)
    values: dict[str, Any] = {
        "t_s": float(step),
        "attempt": 0,
        "generation": 0,
        "rank": 0,
        "step": step,
        "loss": loss,
        "is_finite": is_finite,
        "is_applied": is_finite,
        "samples": 1,
    }
    return StepReport(**{**values, **fields})


def checkpoint(step: int, **fields: Any) -> CheckpointSaved:
    """Return a durable checkpoint of attempt 0."""
    values: dict[str, Any] = {
        "t_s": float(step),
        "attempt": 0,
        "generation": 0,
        "step": step,
        "storage": Storage.DURABLE,
    }
    return CheckpointSaved(**{**values, **fields})


def evaluation(step: int, **fields: Any) -> EvalReport:
    """Return a validation of attempt 0."""
    values: dict[str, Any] = {"t_s": float(step), "attempt": 0, "generation": 0, "step": step}
    return EvalReport(**{**values, **fields})


def started(**fields: Any) -> list[Record]:
    """Return the first two records of a run."""
    values: dict[str, Any] = {"t_s": 0.0, "attempt": 0, "world_size": 1}
    return [
        RunStarted(t_s=0.0, run_id="run-1", job="toy", max_steps=10_000),
        AttemptStarted(**{**values, **fields}),
    ]


def noisy(level: float, sigma: float, seed: int, tail: float = 0.0) -> LossAt:
    """Return a level with log-normal noise, the same for a step in every generation.

    A share `tail` of the steps is four times as noisy: real losses have heavy tails.
    """

    def loss(generation: int, step: int) -> float:
        rng = random.Random(seed * 1_000_003 + step)
        width = 4 * sigma if rng.random() < tail else sigma
        return level * math.exp(rng.gauss(0.0, width))

    return loss


def observe_all(core: Core, records: Sequence[Record]) -> list[Conclusion]:
    """Return everything concluded from the records."""
    return [conclusion for record in records for conclusion in core.observe(record)]


def judge(losses: Sequence[float | None], config: WatchdogConfig | None = None) -> list[Conclusion]:
    """Return what is concluded about a single rank's losses, from step 1 on."""
    core = Core(config or WatchdogConfig())
    reports = [report(step, loss) for step, loss in enumerate(losses, start=1)]
    return observe_all(core, [*started(), *reports])


def verdicts_of(conclusions: Sequence[Conclusion]) -> list[Verdict]:
    """Return the verdicts among conclusions."""
    return [c for c in conclusions if isinstance(c, Verdict)]


def lines_of(conclusions: Sequence[Conclusion], kind: str) -> list[dict[str, Any]]:
    """Return the ledger lines of a kind."""
    return [line for line in map(ledger_line, conclusions) if line["kind"] == kind]


@dataclass
class Rig:
    """Plays the acting half against a core until `last_step`, or a halt.

    That is the beginning of a long run, unless `max_steps` says that it is less.
    """

    loss_at: LossAt
    last_step: int
    config: WatchdogConfig = field(default_factory=WatchdogConfig)
    dies_at: frozenset[tuple[int, int]] = frozenset()
    world_size: int = 2
    lr: float = 1e-3
    max_steps: int = 10_000
    memory_every: int = 8
    durable_every: int = 20
    is_node_lost: bool = False
    dataset_size: int | None = None
    broken_weights_at: frozenset[tuple[int, int]] = frozenset()
    records: list[Record] = field(default_factory=list)
    out: list[Conclusion] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.core = Core(self.config)
        self.attempt = 0
        self.generation = 0
        self.step = 0
        self.t_s = 0.0
        self.checkpoints: dict[Storage, set[int]] = {Storage.MEMORY: set(), Storage.DURABLE: set()}

    def tell(self, record: Record) -> list[Verdict]:
        """Tell the core; return the verdicts it draws."""
        self.records.append(record)
        concluded = self.core.observe(record)
        self.out += concluded
        return verdicts_of(concluded)

    def play(self) -> Rig:
        """Play the run."""
        self.tell(RunStarted(t_s=0.0, run_id="run-1", job="toy", max_steps=self.max_steps))
        self._start(0, None, 1.0)
        while self.step < self.last_step:
            if (self.attempt, self.step + 1) in self.dies_at:
                if not self._die():
                    return self
                continue
            verdict = self._train_one()
            if verdict is not None and verdict.action is Action.HALT:
                self._end(Outcome.HALTED)
                return self
            if verdict is not None and verdict.action is Action.ROLLBACK:
                self._roll_back(verdict)
        self._end(Outcome.FINISHED)
        return self

    def samples_of(self, step: int, rank: int) -> tuple[int, ...]:
        """Return the ordinals of a rank's samples: one a step."""
        return (step * 10 + rank,)

    def _train_one(self) -> Verdict | None:
        self.step += 1
        self.t_s += 1.0
        loss = self.loss_at(self.generation, self.step)
        found: list[Verdict] = []
        for rank in range(self.world_size):
            found += self.tell(
                report(
                    self.step,
                    loss,
                    t_s=self.t_s,
                    attempt=self.attempt,
                    generation=self.generation,
                    rank=rank,
                    lr=self.lr * self.core.history().lr_scale,
                    step_s=1.0,
                    sample_ids=self.samples_of(self.step, rank),
                )
            )
        if self.step % self.memory_every == 0:
            found += self._save(Storage.MEMORY)
        if self.step % self.durable_every == 0:
            found += self._save(Storage.DURABLE)
        self._set_scale()
        return found[-1] if found else None

    def _set_scale(self) -> None:
        """Obey an order that changes the learning rate and nothing else."""
        order = self.core.order
        if order is not None and order.action is Action.CONTINUE:
            self.tell(
                LrChanged(
                    t_s=self.t_s,
                    attempt=self.attempt,
                    generation=self.generation,
                    verdict_id=order.verdict_id,
                    step=self.step,
                    lr_scale=order.lr_scale,
                )
            )

    def _save(self, storage: Storage) -> list[Verdict]:
        self.checkpoints[storage].add(self.step)
        is_finite = (self.generation, self.step) not in self.broken_weights_at
        return self.tell(
            checkpoint(
                self.step,
                t_s=self.t_s,
                attempt=self.attempt,
                generation=self.generation,
                storage=storage,
                is_finite=is_finite,
            )
        )

    def _roll_back(self, verdict: Verdict) -> None:
        known = self.checkpoints[Storage.MEMORY] | self.checkpoints[Storage.DURABLE]
        target = max(s for s in verdict.trusted_steps if s < verdict.onset_step and s in known)
        is_in_memory = target in self.checkpoints[Storage.MEMORY]
        storage = Storage.MEMORY if is_in_memory else Storage.DURABLE
        lost, last = self.step - target, self.step
        self.generation, self.step = self.generation + 1, target
        self.t_s += 0.1
        self.tell(
            RollbackDone(
                t_s=self.t_s,
                attempt=self.attempt,
                generation=self.generation,
                verdict_id=verdict.verdict_id,
                step=last,
                restored_step=target,
                storage=storage,
                seconds=0.1,
                steps_lost=lost,
                skipped_samples=verdict.skip_samples,
            )
        )
        for steps in self.checkpoints.values():
            steps -= {step for step in steps if step > target}

    def _die(self) -> bool:
        verdict = self._end(Outcome.WORKER_DIED, "killed by signal 9")
        if verdict is None or verdict.action is not Action.RESTART:
            return False
        history = self.core.history()
        durable = self.checkpoints[Storage.DURABLE] - set(history.distrusted_steps)
        target = max(durable, default=0)
        self.checkpoints[Storage.MEMORY].clear()
        self.attempt, self.generation = history.next_attempt, self.generation + 1
        self.t_s += 4.0
        self._start(target, Storage.DURABLE if target else None, history.lr_scale)
        return True

    def _start(self, step: int, storage: Storage | None, lr_scale: float) -> None:
        self.step = step
        self.tell(
            AttemptStarted(
                t_s=self.t_s,
                attempt=self.attempt,
                world_size=self.world_size,
                restored_step=step,
                storage=storage,
                generation=self.generation,
                lr_scale=lr_scale,
                dataset_size=self.dataset_size,
            )
        )
        self._save(Storage.MEMORY)

    def _end(self, outcome: Outcome, error: str | None = None) -> Verdict | None:
        found = self.tell(
            AttemptEnded(
                t_s=self.t_s,
                attempt=self.attempt,
                outcome=outcome,
                step=self.step,
                error=error,
                is_node_lost=self.is_node_lost and outcome is Outcome.WORKER_DIED,
            )
        )
        return found[-1] if found else None

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """Return the ledger lines of a kind, in order."""
        return lines_of(self.out, kind)

    @property
    def verdicts(self) -> list[Verdict]:
        """Return the verdicts, in order."""
        return verdicts_of(self.out)
