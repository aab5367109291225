"""What only a GPU can show: `python -m pytest -m gpu`. No machine of ours has run them yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from jobs.template.config import Config
from runner import session as session_module
from runner.checkpoints import CheckpointStore
from runner.device import Placement, choose_autocast
from runner.job import Job
from runner.loop import train
from runner.recovery import AttemptPlan
from runner.reflex import Reflex
from runner.session import Session
from runner.task import TaskContext
from tests.e2e.gloo_pair import VERDICT, ScriptedChannel, digest, spec
from watchdog.records import Order, OrderKind, RollbackDone, StepReport

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]


def run(folder: Path, channel: ScriptedChannel, *, precision: str = "fp32") -> Session:
    wanted = spec(60)
    settings = wanted.train.model_copy(update={"precision": precision})
    job = Job(wanted.model_copy(update={"train": settings}), Config(), None, str(folder))
    device = torch.device("cuda", 0)
    place = Placement(0, 1, device, autocast=choose_autocast(precision, device))
    context = TaskContext(train=settings, data_dir=None, cache_dir=folder, device=device)
    store = CheckpointStore(str(folder / "checkpoints"))
    session = Session(job.spec, AttemptPlan(), place, channel, store)
    train(job.task_class()(job.task_config, context), session)
    return session


@pytest.fixture
def _no_waiting() -> Iterator[None]:
    """Have CUDA raise where the host waits for the device."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def fused(gradient: float) -> tuple[nn.Parameter, Reflex]:
    weight = nn.Parameter(torch.ones(3, device="cuda"))
    weight.grad = torch.tensor([1.0, gradient, 1.0], device="cuda")
    return weight, Reflex(torch.optim.AdamW([weight], lr=0.1, fused=True), clip_norm=1.0)


@pytest.mark.usefixtures("_no_waiting")
def test_a_guarded_step_is_taken_or_skipped_without_asking_the_host() -> None:
    good, reflex = fused(1.0)
    taken = reflex.step()
    bad, reflex = fused(float("nan"))
    skipped = reflex.step()
    torch.cuda.set_sync_debug_mode("default")
    assert bool(taken.is_applied)
    assert not bool(skipped.is_applied)
    assert not torch.equal(good, torch.ones_like(good))
    assert torch.equal(bad, torch.ones_like(bad))


def test_the_end_of_a_step_never_waits_for_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = session_module.Session.finish_step

    def watched(session: Session, loss: torch.Tensor) -> None:
        mode = "error" if session.step > 10 else "default"  # the first steps make buffers
        torch.cuda.set_sync_debug_mode(mode)
        try:
            finish(session, loss)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(session_module.Session, "finish_step", watched)
    channel = ScriptedChannel(None)
    assert run(tmp_path, channel).step == 60
    reports = [r for r in channel.records if isinstance(r, StepReport)]
    assert [r.step for r in reports] == list(range(1, 61))
    assert all(r.loss is not None for r in reports), "a report was sent before its copy had ended"


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_rolls_back_in_place_in_each_precision(tmp_path: Path, precision: str) -> None:
    verdict = replace(VERDICT, rewarmup_steps=2)
    channel = ScriptedChannel(Order(order_id=1, kind=OrderKind.ROLLBACK, verdict=verdict))
    session = run(tmp_path, channel, precision=precision)
    [done] = [r for r in channel.records if isinstance(r, RollbackDone)]
    assert (session.step, done.restored_step) == (60, 16)


def test_two_runs_on_one_gpu_end_alike(tmp_path: Path) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        ends = [run(tmp_path / name, ScriptedChannel(None)).bare_model for name in "ab"]
    finally:
        torch.use_deterministic_algorithms(False)
    assert digest(ends[0].cpu()) == digest(ends[1].cpu())
