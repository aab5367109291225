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
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from runner.agreement import Council, Doorbell, RingingModel
from runner.batches import BatchStream, RankBatch
from runner.channel import Channel, ChannelDown
from runner.checkpoints import CheckpointStore
from runner.device import Placement
from runner.drill import DrillRunner, parse_drill
from runner.recovery import AttemptPlan, RestorePoint, plan_rollback
from runner.reflex import Reflex
from runner.sampler import SampleOrder
from runner.schedule import LrControl, scheduled_lr
from runner.spec import RunSpec
from runner.state import StateInfo, TrainState, Tree, seed_step
from runner.task import SampleSource
from runner.telemetry import Telemetry
from runner.vault import Vault
from watchdog.errors import RollbackFailed
from watchdog.records import (
    AttemptStarted,
    EvalReport,
    LrChanged,
    Order,
    OrderKind,
    RollbackDone,
    StepReport,
    Storage,
    Verdict,
)

_log = logging.getLogger(__name__)


class Session:
    """One rank's part in one attempt."""

    def __init__(
        self,
        spec: RunSpec,
        plan: AttemptPlan,
        placement: Placement,
        channel: Channel,
        store: CheckpointStore,
    ) -> None:
        self.spec = spec
        self.placement = placement
        self.step = 0
        self.stopped_by: OrderKind | None = None
        self._plan = plan
        self._channel = channel
        self._generation = plan.generation
        self._lr_control = LrControl(
            plan.lr_scale,
            plan.lr_anchor_step,
            plan.rewarmup_steps,
            plan.min_lr,
            plan.lr_from_scale,
        )
        self._skip = frozenset(plan.skip_samples)
        self._obeyed_order = 0
        self._council = Council()
        self._telemetry = Telemetry(channel, placement.device)
        self._drills = DrillRunner(parse_drill(spec.drill), placement.rank, self._claim)
        self._vault = Vault(
            spec.checkpoints,
            placement,
            store,
            channel,
            self._telemetry.send,
            attempt=plan.attempt,
        )

    # -- the life of an attempt ------------------------------------------------------------

    def begin(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, source: SampleSource
    ) -> None:
        """Take model, optimizer and samples over, and restore what the plan says."""
        place, train = self.placement, self.spec.train
        self.bare_model = model
        self._ringing = RingingModel(model, place.device)
        self._bell = Doorbell(self._ringing, place.world_size)
        self.model: nn.Module = self._ringing
        if place.world_size > 1:
            ids = [place.device.index or 0] if place.device.type == "cuda" else None
            self.model = DistributedDataParallel(
                self._ringing, device_ids=ids, gradient_as_bucket_view=True
            )
        self._scaler = torch.amp.GradScaler(place.device.type) if place.uses_scaler else None
        self._state = TrainState(model, optimizer, self._scaler)
        self._optimizer = optimizer
        self._peak_ratio = [g["lr"] / train.lr for g in optimizer.param_groups]
        self._reflex = Reflex(
            optimizer, train.clip_norm, self._scaler, skip_norm=train.skip_grad_norm
        )
        self._size = len(source)
        self._batches = BatchStream(
            source,
            self._make_order,
            rank=place.rank,
            world_size=place.world_size,
            seed=train.seed,
            micro_batch_size=train.micro_batch_size,
            loader_workers=self.spec.data.loader_workers,
            prefetch=self.spec.data.prefetch,
            device=place.device,
        )
        self._position = 0
        point = self._restore_first()
        if self._plan.reset_momentum:
            self._optimizer.state.clear()
        self._batches.seek(self._position, self._skip)
        if place.rank == 0:
            self._telemetry.send(
                AttemptStarted(
                    t_s=time.time(),
                    attempt=self._plan.attempt,
                    world_size=place.world_size,
                    restored_step=point.step,
                    storage=point.storage,
                    generation=self._generation,
                    lr_scale=self._lr_control.scale,
                    dataset_size=self._size,
                )
            )
        self._remember()
        self._step_started = time.perf_counter()

    def wants_step(self) -> bool:
        """Whether to take another step; settles orders that come with the last one."""
        if self.stopped_by is not None:
            return False
        if self.step < self.spec.train.max_steps:
            return True
        self._vault.announce(is_final=True)
        self._telemetry.flush()
        self._obey()
        return self.stopped_by is None and self.step < self.spec.train.max_steps

    def end(self, metrics: Mapping[str, float]) -> None:
        """Write the last durable checkpoint (not after a halt) and say everything there is."""
        if self.stopped_by is not OrderKind.HALT:
            self._save_durable(metrics)
        self.close()

    def close(self) -> None:
        """Stop the background threads, delivering what they hold."""
        self._vault.announce(is_final=True)
        self._vault.drain()
        self._telemetry.flush()
        self._vault.close()
        self._telemetry.close()

    def abandon(self) -> None:
        """Say what is known after an exception; the attempt is over."""
        self._telemetry.flush(timeout_s=1.0)

    # -- one step --------------------------------------------------------------------------

    def next_batch(self) -> RankBatch:
        """Return this rank's share of the next step's samples, on its device."""
        asked = time.perf_counter()
        self._batch = self._batches.next()
        self._data_s = time.perf_counter() - asked
        step = self.step + 1
        self._drills.begin_step(step)
        seed_step(self.spec.train.seed, step, self.placement.rank)
        order = self._telemetry.order
        self._bell.ring(order is not None and order.order_id > self._obeyed_order)
        self._optimizer.zero_grad(set_to_none=True)
        return self._batch

    def backward(self, loss: torch.Tensor, samples: int, *, is_last: bool) -> None:
        """Add the gradient of a micro-batch's mean loss, weighted by its share of the step.

        DDP averages over ranks, so a rank's weight is its share of the samples times the ranks.
        """
        weight = samples * self.placement.world_size / self._batch.global_size
        loss = self._drills.distort_loss(loss)
        if weight != 1.0:
            loss = loss * weight
        if self._scaler is not None:
            loss = self._scaler.scale(loss)
        with contextlib.ExitStack() as stack:
            if not is_last and isinstance(self.model, DistributedDataParallel):
                stack.enter_context(self.model.no_sync())
            self._bell.tie(loss).backward()  # type: ignore[no-untyped-call]

    def finish_step(self, loss: torch.Tensor) -> None:
        """Apply the step if it is finite, report it, keep checkpoints, obey what was ordered.

        `loss` is the rank's mean loss over its samples, before any drill.
        """
        self.step += 1
        self._position = self._batch.position
        lr = self._set_lr()
        self._vault.fence()
        outcome = self._reflex.step()
        has_rung = self._bell.listen()
        self._report(self._drills.distort_report(loss), lr, outcome)
        checkpoints = self.spec.checkpoints
        is_durable_due = self.step % checkpoints.every_steps == 0
        if is_durable_due or self.step % checkpoints.memory_every_steps == 0:
            self._remember()
        self._vault.announce()
        if is_durable_due:
            self._vault.write(self.step, self._manifest({}))
        if has_rung:
            self._obey()

    def _set_lr(self) -> float:
        scheduled = scheduled_lr(self.step, self.spec.train)
        lr = self._lr_control.lr(self.step, scheduled) * self._drills.lr_factor()
        for group, ratio in zip(self._optimizer.param_groups, self._peak_ratio, strict=True):
            group["lr"] = lr * ratio
        return lr

    def _report(self, loss: torch.Tensor, lr: float, outcome: Any) -> None:
        now = time.perf_counter()
        report = StepReport(
            t_s=time.time(),
            attempt=self._plan.attempt,
            generation=self._generation,
            rank=self.placement.rank,
            step=self.step,
            epoch=self._position / self._size,
            lr=lr,
            scheduled_lr=scheduled_lr(self.step, self.spec.train),
            step_s=now - self._step_started,
            data_s=self._data_s,
            samples=self._batch.size,
            sample_ids=self._batch.ordinals,
        )
        self._step_started = now
        self._telemetry.step(report, loss, outcome.grad_norm, outcome.is_applied, outcome.is_finite)

    def report_evaluation(self, metrics: Mapping[str, float], metric: str, seconds: float) -> None:
        """Tell the watchdog of a validation; rank 0 speaks for all."""
        self._step_started = time.perf_counter()
        if self.placement.rank != 0:
            return
        self._telemetry.send(
            EvalReport(
                t_s=time.time(),
                attempt=self._plan.attempt,
                generation=self._generation,
                step=self.step,
                val_loss=metrics.get("val_loss"),
                val_metric=metrics.get(metric),
                seconds=seconds,
                metrics=dict(metrics),
            )
        )

    def gather(self, items: Sequence[Any]) -> list[Any]:
        """Return the items of all ranks as one list, in rank order."""
        return [item for part in self._council.gather(list(items)) for item in part]

    # -- checkpoints -----------------------------------------------------------------------

    def _info(self) -> StateInfo:
        return StateInfo(
            step=self.step,
            generation=self._generation,
            position=self._position,
            world_size=self.placement.world_size,
            seed=self.spec.train.seed,
        )

    def _remember(self) -> None:
        self._vault.remember(self._state, self._info())

    def _save_durable(self, metrics: Mapping[str, float]) -> None:
        if self.step not in self._vault.memory_steps():
            self._remember()
        self._vault.drain()
        self._vault.write(self.step, self._manifest(metrics))

    def _manifest(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        return {
            "created_t_s": time.time(),
            "epoch": self._position / self._size,
            "skip_samples": sorted(self._skip),
            "lr_scale": self._lr_control.scale,
            "metrics": dict(metrics),
        }

    def _restore_first(self) -> RestorePoint:
        """Restore the best point that all ranks can read; the untrained model is the last."""
        for point in self._plan.restore:
            if point.storage is None:
                return point
            loaded = self._vault.load(point)
            if all(self._council.gather(loaded is not None)) and loaded is not None:
                self._adopt(*loaded)
                return point
        return RestorePoint(0, None)

    def _require_equal_weights(self, point: RestorePoint) -> None:
        """Compare the norm of all weights, to the last bit, over the ranks.

        Raises:
            RollbackFailed: the ranks restored different weights.
        """
        weights = [t for t in self.bare_model.state_dict().values() if t.is_floating_point()]
        norms = self._council.gather(float(torch.nn.utils.get_total_norm(weights)))
        if any(norm != norms[0] for norm in norms):
            raise RollbackFailed(
                f"the ranks restored different weights for step {point.step} "
                f"from {point.storage} (norms {norms})"
            )

    def _adopt(self, tree: Tree, info: StateInfo) -> None:
        self._state.load(tree)
        self.step = info.step
        self._position = info.position

    def _make_order(self, position: int, skip: Any) -> SampleOrder:
        return SampleOrder(
            size=self._size,
            batch_size=self.spec.train.batch_size,
            seed=self.spec.train.seed,
            position=position,
            skip=skip,
        )

    # -- orders ----------------------------------------------------------------------------

    def _claim(self, key: str) -> int:
        try:
            return self._channel.claim(key)
        except ChannelDown:
            return 1 << 30  # nobody to ask: better no fault than the same one for ever

    def _obey(self) -> None:
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
            self._set_scale(order.verdict)
            return
        if order.kind is not OrderKind.ROLLBACK or order.verdict is None:
            self.stopped_by = order.kind
            return
        memory = set.intersection(*(set(steps) for _, steps, _ in known))
        durable = {step for _, _, steps in known for step in steps}
        self._roll_back(order.verdict, memory, durable, started)

    def _set_scale(self, verdict: Verdict) -> None:
        """Change the multiplier on the rate from the next step on, without going back."""
        self._lr_control = LrControl(
            verdict.lr_scale,
            self.step,
            verdict.rewarmup_steps,
            verdict.min_lr,
            self._lr_control.scale,
        )
        if self.placement.rank == 0:
            self._telemetry.send(
                LrChanged(
                    t_s=time.time(),
                    attempt=self._plan.attempt,
                    generation=self._generation,
                    verdict_id=verdict.verdict_id,
                    step=self.step,
                    lr_scale=verdict.lr_scale,
                )
            )

    def _roll_back(
        self, verdict: Verdict, memory: set[int], durable: set[int], started: float
    ) -> None:
        last_step = self.step
        point = plan_rollback(verdict, memory, durable)
        if point is None:
            raise RollbackFailed(
                f"no trusted checkpoint older than step {verdict.onset_step} is left in memory "
                f"{sorted(memory)} or on storage {sorted(durable)} (attempt {self._plan.attempt}, "
                f"step {last_step}); checkpoints.memory_keep={self.spec.checkpoints.memory_keep}"
            )
        loaded = self._vault.load(point)
        if not all(self._council.gather(loaded is not None)) or loaded is None:
            raise RollbackFailed(
                f"the {point.storage} checkpoint of step {point.step} is unreadable"
            )
        self._adopt(*loaded)
        self._require_equal_weights(point)
        if verdict.reset_momentum:
            self._optimizer.state.clear()
        self._vault.drop_after(point.step)
        self._generation += 1
        skipped = self._batches.whole_batches(verdict.skip_samples)
        self._skip |= skipped
        self._lr_control = LrControl(
            verdict.lr_scale, point.step, verdict.rewarmup_steps, verdict.min_lr
        )
        self._batches.seek(self._position, self._skip)
        self._drills.reset()
        if self.placement.rank == 0:
            self._telemetry.send(
                RollbackDone(
                    t_s=time.time(),
                    attempt=self._plan.attempt,
                    generation=self._generation,
                    verdict_id=verdict.verdict_id,
                    step=last_step,
                    restored_step=point.step,
                    storage=point.storage or Storage.MEMORY,
                    seconds=time.perf_counter() - started,
                    steps_lost=last_step - point.step,
                    skipped_samples=tuple(sorted(skipped)),
                )
            )
