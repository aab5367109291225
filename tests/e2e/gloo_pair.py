"""Two ranks over gloo on the template job, with watchdogs made of a script; for test_agreement."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from jobs.template.config import Config
from runner import telemetry
from runner.channel import ChannelDown
from runner.checkpoints import CheckpointStore
from runner.device import Placement
from runner.job import Job
from runner.loop import train
from runner.recovery import AttemptPlan
from runner.session import Session
from runner.shards import local
from runner.spec import CheckpointConfig, RunSpec, TrainConfig
from runner.task import TaskContext
from watchdog.records import Action, Cause, Order, OrderKind, Record, RollbackDone, Verdict

VERDICT = Verdict(
    verdict_id=1,
    t_s=0.0,
    attempt=0,
    generation=0,
    step=20,
    cause=Cause.NONFINITE,
    action=Action.ROLLBACK,
    reason="scripted",
    onset_step=18,
    lr_scale=0.5,
    skip_samples=(),
    trusted_steps=(0, 8, 16),
)


class ScriptedChannel:
    """Gives its order to one rank alone, once that rank has reported step 20."""

    keeps_copies = False

    def __init__(self, order: Order | None, *, is_down: bool = False) -> None:
        self.order = order
        self.is_down = is_down
        self.records: list[Record] = []

    def exchange(self, records: Sequence[Record]) -> Order | None:
        if self.is_down:
            raise ChannelDown("scripted")
        self.records.extend(records)
        seen = max((getattr(r, "step", 0) for r in self.records), default=0)
        return self.order if seen >= 20 else None

    def claim(self, key: str) -> int:
        return 0

    def end_watchdog(self) -> None:
        raise AssertionError("no drill here ends it")

    def trust(self) -> Mapping[int, str]:
        return {}

    def hold(self, step: int, payload: Mapping[str, Any]) -> Sequence[int]:
        raise AssertionError("keeps no copies")

    def held(self, step: int, rank: int = 0) -> Mapping[str, Any] | None:
        return None

    def held_steps(self) -> Sequence[int]:
        return ()

    def drop_held_after(self, step: int) -> None:
        raise AssertionError("keeps no copies")

    def copy_room_bytes(self) -> int:
        return 0


def spec(max_steps: int, batch_size: int = 9) -> RunSpec:
    return RunSpec(
        name="template",
        train=TrainConfig(
            max_steps=max_steps, batch_size=batch_size, lr=0.01, eval_every_steps=1000, threads=1
        ),
        checkpoints=CheckpointConfig(every_steps=1000, memory_every_steps=8),
    )


def digest(model: torch.nn.Module) -> str:
    parts = (local(t.detach()) for t in model.state_dict().values())
    state = b"".join(part.contiguous().numpy().tobytes() for part in parts)
    return hashlib.sha256(state).hexdigest()


def serve(rank: int, world_size: int, scenarios: Any, results: Any) -> None:
    """Play one scenario after another until told None: importing torch is what takes long."""
    for folder, hearing_rank, kind in iter(scenarios.get, None):
        run_rank(rank, world_size, folder, hearing_rank, kind, results)


def run_rank(
    rank: int, world_size: int, folder: str, hearing_rank: int, kind: str, results: Any
) -> None:
    """Train on one rank; put (rank, last step, stopped_by, digest, rollbacks) into `results`."""
    torch.set_num_threads(1)
    telemetry._SEND_S, telemetry._LOOK_S = 0.0, 0.0005  # sixty steps are over in no time
    if world_size > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size
        )
    order = Order(order_id=1, kind=OrderKind(kind), verdict=VERDICT) if kind else None
    channel = ScriptedChannel(order if rank == hearing_rank else None)
    placement = Placement(rank, world_size, torch.device("cpu"))
    job = Job(spec(60), Config(), None, folder)
    task = job.task_class()(
        job.task_config,
        TaskContext(
            train=job.spec.train,
            data_dir=None,
            cache_dir=Path(folder),
            device=placement.device,
            rank=rank,
            world_size=world_size,
        ),
    )
    session = Session(
        job.spec, AttemptPlan(), placement, channel, CheckpointStore(f"{folder}/checkpoints")
    )
    train(task, session)
    done = [(r.step, r.restored_step) for r in channel.records if isinstance(r, RollbackDone)]
    stopped = session.stopped_by.value if session.stopped_by else None
    results.put((rank, session.step, stopped, digest(session.bare_model), done))
    if world_size > 1:
        dist.destroy_process_group()
