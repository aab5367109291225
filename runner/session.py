"""What a training loop is handed: batches, the guarded step, checkpoints, and obedience to orders.

The loop stays a loop; everything that makes a run survivable is behind these few calls:

    session.begin(model, optimizer, source)
    while session.wants_step():
        batch = session.next_batch()
        ... forward, session.backward(loss) ...
        session.finish_step(loss)

Runs in: worker.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from runner.agreement import Council
from runner.batches import BatchStream, RankBatch, micro_batch_size
from runner.channel import Channel, ChannelDown
from runner.checkpoint_writer import SaveHooks
from runner.checkpoints import CheckpointStore
from runner.course import Course
from runner.device import Placement
from runner.drill import DrillRunner
from runner.drill_grammar import During, parse_drill
from runner.equipment import Equipment
from runner.learner import Learner
from runner.obedience import Obedience
from runner.presence import Presence
from runner.recovery import AttemptPlan
from runner.reporter import Reporter
from runner.restoring import Restorer
from runner.spec import RunSpec
from runner.state import seed_step
from runner.strategy import choose_strategy
from runner.task import SampleSource
from runner.validation_history import measured
from watchdog.records import Order, OrderKind, WorkerPhase


class Session:
    """One rank's part in one attempt."""

    def __init__(
        self,
        spec: RunSpec,
        plan: AttemptPlan,
        placement: Placement,
        channel: Channel,
        store: CheckpointStore,
        stacks: Path | None = None,
        *,
        equipment: Equipment | None = None,
        council: Council | None = None,
        tier: str | None = None,
        leave: Callable[[Order], None] | None = None,
        writers: dist.ProcessGroup | None = None,
    ) -> None:
        self.spec = spec
        self.placement = placement
        self._plan = plan
        self._channel = channel
        self._course = Course(plan, spec.train, placement.world_size)
        self._council = council or Council()
        self._presence = Presence(self._course, placement.rank, stacks, leave)
        self._equipment = equipment or Equipment(spec, placement, channel, store)
        self._telemetry, self._vault = self._equipment.telemetry, self._equipment.vault
        self._reporter = Reporter(self._telemetry, self._course, placement.rank, tier)
        self._drills = DrillRunner(
            parse_drill(spec.drill),
            placement.rank,
            placement.world_size,
            self._claim,
            end_watchdog=self._end_watchdog,
        )
        hooks = SaveHooks(self._drills.room_bytes, self._drills.after_save)
        self._equipment.begin_attempt(plan.attempt, hooks)
        self._telemetry.begin_attempt(self._presence.look, self._presence.give_up)
        self._strategy = choose_strategy(spec.train.strategy, placement, self._council, writers)
        self._store = store

    @property
    def step(self) -> int:
        """Return the last step taken."""
        return self._course.step

    @property
    def stopped_by(self) -> OrderKind | None:
        """Return the order that ended the attempt, if one did."""
        return self._obedience.stopped_by

    # -- the life of an attempt ------------------------------------------------------------

    def shard(self, model: nn.Module) -> bool:
        """Share the model out over the ranks if the strategy does, and return whether it did.

        Its optimizer is built after.
        """
        return self._strategy.shard(model)

    def begin(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        source: SampleSource,
        *,
        start_over: Callable[[], None] | None = None,
    ) -> None:
        """Take model, optimizer and samples over, and restore what the plan says.

        Where there is nothing to restore, `start_over` makes the model untrained again; one that
        was built anew for this attempt needs none.
        """
        place, course = self.placement, self._course
        self.bare_model = model
        self.model = self._strategy.wrap(model)
        self._vault.write_parts(self._strategy.states(self._store, model, optimizer))
        self._bell = self._strategy.bell(self._vault)
        self._learner = Learner(model, optimizer, self.spec.train, place, course.validations)
        course.size = len(source)
        self._batches = self._stream(source)
        restorer = self._restorer = Restorer(self._vault, self._council, self._learner, course)
        self._obedience = Obedience(
            self._bell,
            self._council,
            self._telemetry,
            self._vault,
            restorer,
            self._reporter,
            course,
            self._learner,
            self._batches,
            self._drills,
        )
        train = self.spec.train
        self._drills.break_samples(course.size, train.batch_size, train.seed, place.world_size)
        if self._plan.attempt:
            self._drills.moment(During.RECOVERY, self.step + 1)
        self._vault.plan_memory(self._learner.state, self._council.gather)
        point = restorer.first_readable(self._plan.restore)
        if point.storage is None and start_over is not None:
            start_over()
        self._vault.drop_after(point.step)
        if self._plan.reset_momentum:
            self._learner.forget_momentum()
        self._batches.seek(course.position, course.skip)
        self._reporter.attempt_started(point, self._vault.plan.sentence)
        self._remember()
        self._reporter.start_clock()

    def _stream(self, source: SampleSource) -> BatchStream:
        place, train, data = self.placement, self.spec.train, self.spec.data
        return BatchStream(
            source,
            self._course.order,
            rank=place.rank,
            world_size=place.world_size,
            seed=train.seed,
            micro_batch_size=micro_batch_size(
                train, place.world_size, self._plan.micro_batch_scale
            ),
            loader_workers=data.loader_workers,
            prefetch=data.prefetch,
            device=place.device,
        )

    def wants_step(self) -> bool:
        """Whether to take another step; settles orders that come with the last one."""
        if self.stopped_by is not None:
            return False
        if self._has_work():
            return True
        self._vault.settle()
        self._telemetry.flush()
        self._obedience.obey()
        return self.stopped_by is None and self._has_work()

    def _has_work(self) -> bool:
        return self.step < self.spec.train.max_steps and self.early_stop_reason is None

    @property
    def early_stop_reason(self) -> str | None:
        """Return why the validations so far end the run now, None if they do not."""
        return self._course.validations.stop_reason

    @property
    def owes_validation(self) -> bool:
        """Whether the validation of the restored step is missing: checkpoints come before it."""
        validations = self._course.validations
        is_due = self.step > 0 and self.step % self.spec.train.eval_every_steps == 0
        return validations.is_used and is_due and validations.last_step != self.step

    def end(self, metrics: Mapping[str, float]) -> None:
        """Write the last durable checkpoint (not after a halt) and say everything there is."""
        self._presence.enter(WorkerPhase.ENDING)
        if self.stopped_by is not OrderKind.HALT:
            self._save_durable(metrics)
        self._vault.settle()
        self.close()

    def close(self) -> None:
        """Stop the background threads, delivering what they hold."""
        self._equipment.close()

    def abandon(self) -> None:
        """Leave an attempt that broke: its model is the next one's."""
        self._strategy.unwrap()

    # -- one step --------------------------------------------------------------------------

    def next_batch(self) -> RankBatch:
        """Return this rank's share of the next step's samples, on its device."""
        step = self.step + 1
        self._presence.enter(WorkerPhase.DATA)
        self._began_s = time.perf_counter()
        self._drills.begin_step(step)
        self._drills.distort_weights(self.bare_model)
        asked = time.perf_counter()
        self._batch = self._drills.distort_batch(self._batches.next())
        self._drills.drag()
        self._data_s = time.perf_counter() - asked
        seed_step(self.spec.train.seed, step, self.placement.rank)
        self._obedience.ring()
        self._strategy.begin_step()
        self._parts_left = len(self._batch.parts)
        self._strategy.begin_part(is_last=self._parts_left == 1)
        self._learner.optimizer.zero_grad(set_to_none=True)
        self._presence.enter(WorkerPhase.COMPUTE)
        return self._batch

    def backward(self, loss: torch.Tensor, samples: int, *, is_last: bool) -> None:
        """Add the gradient of a micro-batch's mean loss, weighted by its share of the step.

        DDP averages over ranks, so a rank's weight is its share of the samples times the ranks.
        """
        self._drills.check_memory(samples, self._batch.size)
        weight = samples * self.placement.world_size / self._batch.global_size
        loss = self._drills.distort_loss(loss)
        if weight != 1.0:
            loss = loss * weight
        loss = self._learner.scale(loss)
        self._presence.enter(WorkerPhase.ALL_REDUCE)
        self._own_s = time.perf_counter() - self._began_s
        self._bell.tie(loss).backward()  # type: ignore[no-untyped-call]
        self._parts_left -= 1
        self._strategy.begin_part(is_last=self._parts_left == 1)
        self._presence.enter(WorkerPhase.SETTLE if is_last else WorkerPhase.COMPUTE)

    def finish_step(self, loss: torch.Tensor) -> None:
        """Apply the step if it is finite, report it, keep checkpoints, obey what was ordered.

        `loss` is the rank's mean loss over its samples, before any drill.
        """
        course = self._course
        course.step += 1
        course.position = self._batch.position
        scheduled = course.scheduled_lr()
        lr = course.lr(scheduled) * self._drills.lr_factor()
        self._learner.set_lr(lr)
        self._vault.fence()
        outcome = self._learner.step(course.step)
        has_rung = self._bell.listen()
        reported = self._drills.distort_report(loss)
        self._reporter.step(
            self._batch,
            reported,
            outcome,
            lr=lr,
            scheduled_lr=scheduled,
            data_s=self._data_s,
            own_s=self._own_s,
        )
        checkpoints = self.spec.checkpoints
        is_durable_due = course.step % checkpoints.every_steps == 0
        if is_durable_due or course.step % self._vault.plan.every_steps == 0:
            self._remember()
        self._vault.announce()
        self._equipment.graveyard.step_done()
        if is_durable_due:
            self._write({})
            self._drills.moment(During.CHECKPOINT, self.step)
        if has_rung:
            self._presence.enter(WorkerPhase.AGREE)
            self._obedience.obey()
        self._presence.is_first_step = False
        self._presence.enter(WorkerPhase.VALIDATE)

    @contextlib.contextmanager
    def validating(self) -> Iterator[None]:
        """Have the model ready for a validation: averaged if it is, all of it on every rank."""
        self._vault.fence()
        with self._learner.with_average(), self._strategy.validating():
            yield

    def report_evaluation(self, metrics: Mapping[str, float], metric: str, seconds: float) -> None:
        """Take note of a validation and tell the watchdog; rank 0 speaks for all."""
        self._course.validations.add(self.step, measured(metrics, metric))
        self._reporter.evaluation(metrics, metric, seconds)

    def saved_models(self, count: int) -> list[Mapping[str, Any]]:
        """Return the model states of the newest durable checkpoints, the same on all ranks."""
        return self._restorer.saved_models(count)

    def gather(self, items: Sequence[Any]) -> list[Any]:
        """Return the items of all ranks as one list, in rank order."""
        self._presence.enter(WorkerPhase.GATHER)
        gathered = [item for part in self._council.gather(list(items)) for item in part]
        self._presence.enter(WorkerPhase.VALIDATE)
        return gathered

    # -- checkpoints -----------------------------------------------------------------------

    def _remember(self) -> None:
        self._vault.remember(self._learner.state, self._course.info())

    def _save_durable(self, metrics: Mapping[str, float]) -> None:
        if self.step not in self._vault.memory_steps():
            self._remember()
        self._vault.drain()
        self._write(metrics)

    def _write(self, metrics: Mapping[str, float]) -> None:
        course, vault = self._course, self._vault
        if vault.writes_parts and any(self._council.gather(vault.is_writing)):
            return  # all ranks write, or none does: one is still at the last checkpoint
        self._vault.write(self._learner.state, course.info(), course.manifest(metrics))

    def _claim(self, key: str) -> int:
        try:
            return self._channel.claim(key)
        except ChannelDown:
            return 1 << 30  # nobody to ask: better no fault than the same one for ever

    def _end_watchdog(self) -> None:
        with contextlib.suppress(ChannelDown):  # it may be dead before it has answered
            self._channel.end_watchdog()
