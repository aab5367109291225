"""Ranks that share a model out over gloo, on a small job of their own; for test_fsdp."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from runner import strategy, telemetry
from runner.checkpoints import CheckpointStore
from runner.device import Placement
from runner.loop import train
from runner.recovery import AttemptPlan, RestorePoint
from runner.session import Session
from runner.spec import CheckpointConfig, Config, RunSpec, TrainConfig
from runner.task import Task, TaskContext
from tests.e2e.gloo_pair import VERDICT, ScriptedChannel
from watchdog.held_copies import HeldCopies
from watchdog.records import (
    CheckpointFailed,
    CheckpointSaved,
    Order,
    OrderKind,
    RollbackDone,
    StepReport,
    Storage,
)

STEPS = 40


@dataclass(frozen=True)
class Scene:
    """What a pair goes through. `hearing_rank` alone hears `order`, after its step 20.

    `damages` names the folder of another scene, whose checkpoints are copied and damaged first.
    """

    strategy: str = "fsdp"
    order: str = ""
    hearing_rank: int = 1
    drill: str | None = None
    restore: tuple[RestorePoint, ...] = (RestorePoint(0, None),)
    max_steps: int = STEPS
    every_steps: int = 1000
    ema_decay: float | None = 0.9
    micro_batch_size: int | None = None
    memory_limit_gb: float | None = None
    folder: str = "checkpoints"
    copies: str | None = None
    damages: str | None = None


@dataclass
class Told:
    """What a rank came to, as plain data."""

    rank: int
    step: int
    stopped_by: str | None
    digest: str
    average: str
    metrics: dict[str, float]
    losses: dict[int, float]
    skipped: list[int]
    rollbacks: list[tuple[int, int, str]]
    memory: dict[int, bool]
    durable: dict[int, bool]
    failed: list[tuple[int, str]]
    held: tuple[int, ...]
    part_bytes: int
    whole_bytes: int


class Points:
    """Points of a plane, each with a number to tell."""

    def __len__(self) -> int:
        return 60

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        x = np.random.default_rng(index).normal(size=6).astype(np.float32)
        return {"x": x + rng.normal(scale=0.01, size=6).astype(np.float32), "y": x[:1] * x[1:2]}


class UnevenTask(Task[Config]):
    """Layers whose sizes two ranks cannot share out evenly, a batch norm and dropout among them."""

    metric = "neg_loss"

    def train_data(self) -> Points:
        return Points()

    def build_model(self) -> nn.Module:
        inner = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Dropout(0.1))
        return nn.Sequential(inner, nn.Sequential(nn.Linear(9, 5), nn.Tanh()), nn.Linear(5, 1))

    def training_step(self, model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
        return nn.functional.mse_loss(model(batch["x"]), batch["y"])

    def validation_size(self) -> int:
        return 3  # uneven on purpose: rank 0 runs the model twice, rank 1 once

    def evaluate(self, model: nn.Module, index: int) -> Mapping[str, Any]:
        batch = [Points().get(i, np.random.default_rng(i)) for i in range(index, 60, 3)]
        x = torch.from_numpy(np.stack([b["x"] for b in batch]))
        y = torch.from_numpy(np.stack([b["y"] for b in batch]))
        loss = float(nn.functional.mse_loss(model(x), y))
        return {"val_loss": loss, "neg_loss": -loss}


class PatientSession(Session):
    """Waits for each durable checkpoint, so that none is passed over on a busy machine."""

    def _write(self, metrics: Mapping[str, float]) -> None:
        super()._write(metrics)
        self._vault.drain()


class CopyingChannel(ScriptedChannel):
    """Keeps the copies of its rank in files, where another run finds them."""

    def __init__(self, order: Order | None, folder: Path | None, rank: int) -> None:
        super().__init__(order)
        self.keeps_copies = folder is not None
        self._folder, self._rank = folder, rank
        self._copies = HeldCopies()

    def hold(self, step: int, payload: Mapping[str, Any]) -> Sequence[int]:
        assert self._folder is not None
        kept = {**payload, "arrays": [array.copy() for array in payload["arrays"]]}
        self._folder.mkdir(exist_ok=True)
        torch.save(kept, self._folder / f"{step}_{self._rank}.pt")
        return self._copies.keep(step, kept)

    def held(self, step: int, rank: int = 0) -> Mapping[str, Any] | None:
        assert self._folder is not None
        path = self._folder / f"{step}_{rank}.pt"
        return torch.load(path, weights_only=False) if path.exists() else None  # our own file

    def drop_held_after(self, step: int) -> None:
        self._copies.drop_after(step)

    def copy_room_bytes(self) -> int:
        return 10**9


def _spec(scene: Scene) -> RunSpec:
    return RunSpec(
        name="template",
        drill=scene.drill,
        train=TrainConfig(
            max_steps=scene.max_steps,
            batch_size=8,
            micro_batch_size=scene.micro_batch_size,
            lr=0.01,
            eval_every_steps=20,
            threads=1,
            strategy=scene.strategy,  # type: ignore[arg-type]
            ema_decay=scene.ema_decay,
        ),
        checkpoints=CheckpointConfig(
            every_steps=scene.every_steps,
            memory_every_steps=8,
            memory_limit_gb=scene.memory_limit_gb,
        ),
    )


def run_scenes(
    rank: int, world_size: int, folder: str, meeting: str, scenes: Mapping[str, Scene], results: Any
) -> None:
    """Go through scenes on one rank, one after the other; put what each came to into `results`.

    `meeting` is a file by which the ranks find each other.
    """
    torch.set_num_threads(1)
    telemetry._SEND_S, telemetry._LOOK_S = 0.0, 0.0005
    strategy._LEAST_UNIT_PARAMETERS = 40  # units within the small model
    if world_size > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=world_size
        )
    for name, scene in scenes.items():
        try:
            results.put((name, _run(rank, world_size, Path(folder), scene)))
        except Exception:
            results.put((name, traceback.format_exc()))
            raise
    if world_size > 1:
        dist.destroy_process_group()


def _run(rank: int, world_size: int, folder: Path, scene: Scene) -> Told:
    if scene.damages is not None:
        if rank == 0:
            copy_damaged(folder / scene.damages, folder / scene.folder)
        dist.barrier()
    order = None
    if scene.order:
        verdict = replace(VERDICT, trusted_steps=(0, 8, 10, 16))
        order = Order(order_id=1, kind=OrderKind(scene.order), verdict=verdict)
    copies = None if scene.copies is None else folder / scene.copies
    channel = CopyingChannel(order if rank == scene.hearing_rank else None, copies, rank)
    spec, placement = _spec(scene), Placement(rank, world_size, torch.device("cpu"))
    context = TaskContext(
        train=spec.train,
        data_dir=None,
        cache_dir=folder,
        device=placement.device,
        rank=rank,
        world_size=world_size,
    )
    plan = AttemptPlan(restore=scene.restore)
    session = PatientSession(
        spec, plan, placement, channel, CheckpointStore(str(folder / scene.folder))
    )
    metrics = train(UnevenTask(Config(), context), session)
    return _told(rank, session, channel, metrics)


def copy_damaged(source: Path, target: Path) -> None:
    """Copy checkpoints, one bit of the newest but one flipped in a part of rank 1."""
    for file in source.rglob("*"):
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    part = target / "step_00000030" / "__1_0.distcp"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(bytes(data))


def _told(rank: int, session: Session, channel: CopyingChannel, metrics: dict[str, float]) -> Told:
    model, average = session.bare_model, session._learner.average
    whole = {name: _whole(p.detach()) for name, p in model.named_parameters()}
    averages = {} if average is None else average.weights()
    steps = [r for r in channel.records if isinstance(r, StepReport)]
    saved = [r for r in channel.records if isinstance(r, CheckpointSaved)]
    return Told(
        rank=rank,
        step=session.step,
        stopped_by=None if session.stopped_by is None else session.stopped_by.value,
        digest=digest(whole),
        average=digest(averages),
        metrics=metrics,
        losses={r.step: r.loss for r in steps if r.loss is not None},
        skipped=[r.step for r in steps if not r.is_applied],
        rollbacks=[
            (r.step, r.restored_step, r.storage.value)
            for r in channel.records
            if isinstance(r, RollbackDone)
        ],
        memory={r.step: r.is_finite for r in saved if r.storage is Storage.MEMORY},
        durable={r.step: r.is_finite for r in saved if r.storage is Storage.DURABLE},
        failed=[(r.step, r.operation) for r in channel.records if isinstance(r, CheckpointFailed)],
        held=channel._copies.steps(),
        part_bytes=session._learner.state.size_bytes(),
        whole_bytes=sum(t.numel() * t.element_size() for t in whole.values()),
    )


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    state = b"".join(t.detach().contiguous().numpy().tobytes() for t in tensors.values())
    return hashlib.sha256(state).hexdigest()
