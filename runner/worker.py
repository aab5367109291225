"""One worker process from beginning to end: roll call, attempt, and again when an attempt breaks.

What lives as long as the process (the build, the equipment) is kept from attempt to attempt; what
belongs to one attempt (process group, session) is buried when it breaks.

Runs in: worker.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from runner.agreement import Council
from runner.build import Build
from runner.channel import Channel
from runner.checkpoints import CheckpointStore
from runner.device import Placement, choose_autocast
from runner.equipment import Equipment
from runner.failures import describe, is_poisoned
from runner.job import Job
from runner.loop import train
from runner.process_group import MeetingPoint, ProcessGroup
from runner.recovery import plan_attempt
from runner.roll import Lifeline, RollClient, RollLine
from runner.session import Session
from runner.task import TaskContext
from watchdog.muster import Assignment, Failure, Member, Word
from watchdog.records import Order, OrderKind

_log = logging.getLogger(__name__)

#: Chosen: a rank that hangs has had its deadline; what it may still do is to notice its peers' end.
_CULPRIT_S = 1.0
#: What a process that ends itself leaves with: EX_SOFTWARE of sysexits.h.
_EXIT_CODE = 70


@dataclass(frozen=True, slots=True)
class AttemptReturn:
    """What a worker that came to an end by itself reports; plain data.

    `left` says why it left without an end of the run: all workers are restarted, or halted.
    """

    step: int = 0
    stopped_by: OrderKind | None = None
    metrics: dict[str, float] | None = None
    trivial: dict[str, float] | None = None
    reason: str | None = None
    left: str | None = None
    rank: int = -1


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a worker process sits: its number in its worker group, its device and its host.

    `is_remote` says that the watchdog lives in another process, which outlives this one.
    """

    group: int
    number: int
    world_size: int
    device: torch.device
    host: str = "127.0.0.1"
    node: str = ""
    backend: str = "gloo"
    is_remote: bool = True


class Worker:
    """Runs attempts until the run is over, or the roll call says to leave."""

    def __init__(
        self,
        job: Job,
        seat: Seat,
        channel: Channel,
        line: RollLine,
        checkpoints: str,
        stacks: Path | None = None,
    ) -> None:
        self._job = job
        self._stacks = stacks
        self._seat = seat
        self._channel = channel
        self._store = CheckpointStore(checkpoints)
        self._member = Member(
            member_id=f"{seat.group}.{seat.number}.{uuid.uuid4().hex[:12]}",
            group=seat.group,
            number=seat.number,
            world_size=seat.world_size,
            host=seat.host,
            node=seat.node,
        )
        self._line = line
        self._roll = RollClient(line, self._member)
        self._build: Build | None = None
        self._equipment: Equipment | None = None
        self._session: Session | None = None
        self._group: ProcessGroup | None = None
        self._attempt = -1
        self._deadline_of = -1

    def run(self) -> AttemptReturn:
        """Train until the end, an order to stop, or word to leave."""
        lifeline = Lifeline(self._line, self._member, self._roll) if self._seat.is_remote else None
        returned: AttemptReturn | None = None
        try:
            self._prepare()
            returned = self._attempts()
            return returned
        finally:
            self._roll.leave(None if returned is None else asdict(returned))
            if lifeline is not None:
                lifeline.close()

    def _prepare(self) -> None:
        """Import and build what does not depend on the rank, so that a spare is quick."""
        if self._job.own_loop() is None:
            task = self._job.task_class()(self._job.task_config, self._context(0))
            self._build = Build(task, self._job.spec.train, self._seat.device)

    def _attempts(self) -> AttemptReturn:
        failure: Failure | None = None
        while True:
            meeting = MeetingPoint(self._seat.host)
            answer = self._roll.wait(failure, meeting.port)
            if answer.word is Word.LEAVE or answer.assignment is None:
                _log.warning("leaving: %s", answer.reason)
                self._close()
                if answer.result is not None:
                    return AttemptReturn(**answer.result)
                return AttemptReturn(step=self._step, left=answer.reason, rank=self._roll.rank)
            try:
                return self._run_attempt(answer.assignment, meeting)
            except Exception as error:
                failure = self._break(error)

    @property
    def _step(self) -> int:
        return 0 if self._session is None else self._session.step

    def _run_attempt(self, assignment: Assignment, meeting: MeetingPoint) -> AttemptReturn:
        spec = self._job.spec
        is_shared_out = spec.train.strategy == "fsdp"
        place = Placement(
            rank=assignment.rank,
            world_size=assignment.world_size,
            device=self._seat.device,
            local_world_size=assignment.local_world_size,
            autocast=choose_autocast(
                spec.train.precision, self._seat.device, can_scale=not is_shared_out
            ),
        )
        torch.set_num_threads(spec.train.threads or _fair_threads(place))
        self._group = ProcessGroup(
            assignment.attempt,
            place.rank,
            place.world_size,
            self._seat.backend,
            has_writers=is_shared_out,
        )
        self._attempt = assignment.attempt
        equipment = self._equip(place)
        self._group.open(meeting, assignment.host, assignment.port)
        council = Council(self._group.side)
        known = council.gather((equipment.vault.memory_steps(), equipment.vault.durable_steps()))
        plan = plan_attempt(
            assignment.history,
            assignment.verdict,
            sorted({*assignment.held_steps, *(step for steps, _ in known for step in steps)}),
            sorted({step for _, steps in known for step in steps}),
        )
        session = self._session = Session(
            spec,
            plan,
            place,
            self._channel,
            self._store,
            self._stacks,
            equipment=equipment,
            council=council,
            tier=None if assignment.tier is None else assignment.tier.value,
            leave=self._leave_attempt,
            writers=self._group.writers,
        )
        metrics = self._train(session)
        self._attempt = -1
        self._group.retire(is_broken=False)
        trivial = {} if self._build is None else dict(self._build.task.trivial_metrics())
        return AttemptReturn(
            session.step,
            session.stopped_by,
            metrics,
            trivial,
            session.early_stop_reason,
            rank=place.rank,
        )

    def _train(self, session: Session) -> dict[str, float]:
        """Train in the standard loop or in the job's own."""
        place = session.placement
        context = self._context(place.rank, place.world_size)
        if self._build is not None:
            self._build.task.context = context
            return train(self._build.task, session, self._build)
        loop = self._job.own_loop()
        assert loop is not None, "a job without a task has a loop"
        metrics = dict(loop(session, context, self._job.task_config))
        session.end(metrics)
        return metrics

    def _equip(self, place: Placement) -> Equipment:
        """Return this rank's equipment; a rank that moved, or had closed it, gets a new one."""
        kept = self._equipment
        if kept is None or kept.is_closed or kept.placement != place:
            if kept is not None and not kept.is_closed:
                kept.close()
            kept = self._equipment = Equipment(self._job.spec, place, self._channel, self._store)
        return kept

    def _break(self, error: Exception) -> Failure:
        """Leave an attempt that broke: free the peers, say what is known, bury what is left."""
        failure = describe(error, self._step)
        _log.error("attempt %d breaks after step %d: %s", self._attempt, self._step, failure.error)
        group, equipment = self._group, self._equipment
        if group is not None:
            group.unblock()
        self._attempt = -1
        if equipment is not None:
            equipment.telemetry.end_attempt()
            equipment.telemetry.flush(timeout_s=1.0)
        if is_poisoned(error) and self._seat.is_remote:
            _end_process("its GPU context is beyond use")
        if self._session is not None:
            self._session.abandon()
        if equipment is not None and group is not None:
            equipment.graveyard.bury(error, self._session, group, *group.retire())
        self._session = self._group = None
        return failure

    def _leave_attempt(self, order: Order) -> None:
        """Free the main thread from an attempt; called from the telemetry's thread.

        One that is not in a collective is not freed by it: it has some time to come to one.
        """
        group, attempt = self._group, order.attempt
        if group is None or attempt is None or self._attempt < 0 or self._attempt > attempt:
            return
        group.unblock()
        if self._seat.is_remote and self._deadline_of != attempt:
            self._deadline_of = attempt
            is_culprit = order.verdict is not None and order.verdict.rank == self._roll.rank
            limit_s = _CULPRIT_S if is_culprit else self._job.spec.recovery.gather_s
            timer = threading.Timer(limit_s, self._end_if_stuck, args=(attempt,))
            timer.daemon = True
            timer.start()

    def _end_if_stuck(self, attempt: int) -> None:
        if self._attempt == attempt:
            _end_process(f"it was stuck in attempt {attempt}, outside of any collective")

    def _close(self) -> None:
        if self._equipment is not None and not self._equipment.is_closed:
            self._equipment.close()

    def _context(self, rank: int, world_size: int | None = None) -> TaskContext:
        job = self._job
        return TaskContext(
            train=job.spec.train,
            data_dir=None if job.data_dir is None else Path(job.data_dir),
            cache_dir=Path(job.cache_dir),
            device=self._seat.device,
            rank=rank,
            world_size=world_size or self._seat.world_size,
        )


def _end_process(why: str) -> None:
    """End this process without a word to anyone: the kernel breaks its lines, Ray replaces it."""
    _log.critical("this process ends itself: %s", why)
    logging.shutdown()
    os._exit(_EXIT_CODE)


def _fair_threads(placement: Placement) -> int:
    """Return the cores of this node for each rank; one at least."""
    return max(1, (os.cpu_count() or 1) // max(1, placement.local_world_size))
