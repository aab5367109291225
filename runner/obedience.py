"""How a rank carries out, with all others at the same step, what the watchdog ordered.

Runs in: worker.
"""

from __future__ import annotations

import time

from runner.agreement import Council
from runner.batches import BatchStream
from runner.bells import Bell
from runner.course import Course
from runner.drill import DrillRunner
from runner.drill_grammar import During
from runner.learner import Learner
from runner.recovery import rollback_candidates
from runner.reporter import Reporter
from runner.restoring import Restorer
from runner.telemetry import Telemetry
from runner.vault import Vault
from watchdog.errors import RollbackFailed
from watchdog.records import Order, OrderKind, Verdict


class Obedience:
    """Hears orders, and obeys each once. `stopped_by` is the order that ended the attempt."""

    def __init__(
        self,
        bell: Bell,
        council: Council,
        telemetry: Telemetry,
        vault: Vault,
        restorer: Restorer,
        reporter: Reporter,
        course: Course,
        learner: Learner,
        batches: BatchStream,
        drills: DrillRunner,
    ) -> None:
        self._bell = bell
        self._council = council
        self._telemetry = telemetry
        self._vault = vault
        self._restorer = restorer
        self._reporter = reporter
        self._course = course
        self._learner = learner
        self._batches = batches
        self._drills = drills
        self._obeyed_order = 0
        self.stopped_by: OrderKind | None = None

    def ring(self) -> None:
        """Ring for an order that this rank has heard of and not obeyed; before each backward."""
        order = self._telemetry.order
        self._bell.ring(order is not None and order.order_id > self._obeyed_order)

    def obey(self) -> None:
        """Carry out, on all ranks at this step, the newest order that any rank has heard."""
        started = time.perf_counter()
        known = self._council.gather(
            (self._telemetry.order, self._vault.memory_steps(), self._vault.durable_steps())
        )
        orders = [o for o, _, _ in known if o is not None and o.order_id > self._obeyed_order]
        if not orders:
            return
        order: Order = max(orders, key=lambda o: o.order_id)
        self._obeyed_order = order.order_id
        self._bell.reset()
        if order.kind is OrderKind.SET_LR and order.verdict is not None:
            self._course.change_lr(order.verdict)
            self._reporter.lr_changed(order.verdict)
            return
        if order.kind is not OrderKind.ROLLBACK or order.verdict is None:
            self.stopped_by = order.kind
            return
        memory = set.intersection(*(set(steps) for _, steps, _ in known))
        durable = {step for _, _, steps in known for step in steps}
        self._roll_back(order.verdict, memory, durable, started)

    def _roll_back(
        self, verdict: Verdict, memory: set[int], durable: set[int], started: float
    ) -> None:
        course = self._course
        self._drills.moment(During.RECOVERY, course.step)
        last_step = course.step
        points = rollback_candidates(verdict, memory, durable)
        if not points:
            raise RollbackFailed(
                f"no trusted checkpoint older than step {verdict.onset_step} is left in memory "
                f"{sorted(memory)} or on storage {sorted(durable)} (attempt {course.attempt}, "
                f"step {last_step}); checkpoints.memory_keep={self._vault.config.memory_keep}"
            )
        point = self._restorer.roll_back(points)
        if verdict.reset_momentum:
            self._learner.forget_momentum()
        self._vault.drop_after(point.step)
        skipped = self._batches.whole_batches(verdict.skip_samples)
        course.rolled_back(verdict, skipped)
        self._batches.seek(course.position, course.skip)
        self._drills.reset()
        self._reporter.rolled_back(
            verdict,
            point,
            last_step=last_step,
            seconds=time.perf_counter() - started,
            skipped=skipped,
        )
