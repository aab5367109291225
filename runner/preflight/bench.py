"""What the checks work with: the task, some samples, one small batch, a fresh model.

Each part is made when it is first asked for. One that cannot be made raises `Unavailable` for every
check but the one that is about it, so that a single defect is one finding and not ten.

Runs in: preflight's own process.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from runner.device import choose_autocast, local_device
from runner.job import Job
from runner.sampler import sample_rng
from runner.spec import worker_bounds
from runner.state import map_tensors, seed_step, tensors_of
from runner.task import SampleSource, Task, TaskContext

_log = logging.getLogger(__name__)

#: Chosen: enough for shares of a tenth, and a second or two where a sample takes 50 ms.
MAX_SAMPLES = 32
_SAMPLING_S = 6.0
#: Chosen: batch norm needs two, a loss that can be overfitted in some dozens of steps few.
_SMALL_BATCH = 4
#: Lifts gradients out of fp16's range of zero, as a gradient scaler would.
_FP16_SCALE = 1024.0
_NUMERIC = (np.ndarray, np.generic, int, float)


class Unavailable(Exception):
    """A part of the bench cannot be made; another check says why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sample, or the error that came in its place; `seconds` is what it took."""

    index: int
    values: Mapping[str, Any] | None
    error: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the model: its tensor arguments and what it returned."""

    inputs: tuple[torch.Tensor, ...]
    output: Any


@dataclass(frozen=True, slots=True)
class Forward:
    """A forward pass and loss: the calls seen, the loss, or the error and who raised it.

    `is_model_to_blame` says that an error came out of the model and not of the loss around it.
    """

    calls: tuple[Call, ...]
    loss: torch.Tensor | None
    error: str = ""
    is_model_to_blame: bool = False


class Bench:
    """The parts; `lr_range` asks for the learning-rate range test too."""

    def __init__(self, job: Job, run_dir: Path, *, lr_range: bool = False) -> None:
        self.job = job
        self.spec = job.spec
        self.run_dir = run_dir
        self.lr_range = lr_range
        self.device = local_device()
        self.autocast = choose_autocast(self.spec.train.precision, self.device)
        self.ranks = max(1, worker_bounds(self.spec.workers)[1])
        #: Loss of the best constant, left here by the floor check for the ones after it.
        self.floor_loss: float | None = None
        #: Seconds of one validation item, left here by the validation check for the estimate.
        self.validation_item_s: float | None = None
        self.threads = self.spec.train.threads or max(1, (os.cpu_count() or 1) // self.ranks)

    @cached_property
    def task(self) -> Task[Any]:
        """Return the job's task, as rank 0 would have it."""
        if self.job.own_loop() is not None:
            raise Unavailable("the job has a loop of its own, which only a run can try")
        data = None if self.job.data_dir is None else Path(self.job.data_dir)
        context = TaskContext(
            train=self.spec.train,
            data_dir=data,
            cache_dir=Path(self.job.cache_dir),
            device=self.device,
        )
        return self.job.task_class()(self.job.task_config, context)

    @cached_property
    def source(self) -> SampleSource:
        """Return the training samples."""
        return self.task.train_data()

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """Return some samples spread over an epoch, failures included."""
        size = len(self.source)
        count = min(size, MAX_SAMPLES)
        # One of each stretch of the epoch, anywhere in it: sets are often sorted or interleaved.
        within = np.random.default_rng(self.spec.train.seed).random(count)
        places = [int((i + part) * size / count) for i, part in enumerate(within)]
        taken: list[Sample] = []
        started = time.perf_counter()
        for at in _spread(places):
            taken.append(self._sample(at, size))
            if time.perf_counter() - started > _SAMPLING_S and len(taken) >= _SMALL_BATCH:
                break
        return tuple(sorted(taken, key=lambda sample: sample.index))

    def _sample(self, index: int, size: int) -> Sample:
        started = time.perf_counter()
        try:
            values = self.source.get(index, sample_rng(self.spec.train.seed, index, size))
        except Exception as error:
            return Sample(index, None, _short(error), time.perf_counter() - started)
        plain = {key: _as_tensor(value) for key, value in values.items()}
        return Sample(index, plain, "", time.perf_counter() - started)

    @cached_property
    def good_samples(self) -> tuple[Mapping[str, Any], ...]:
        """Return the samples that could be read."""
        found = tuple(s.values for s in self.samples if s.values is not None)
        if not found:
            raise Unavailable("no sample could be read; see samples")
        return found

    @cached_property
    def small_batch(self) -> Mapping[str, Any]:
        """Return a batch of a few samples on the device."""
        return self.batch_of(min(_SMALL_BATCH, max(1, self.spec.train.batch_size // self.ranks)))

    def batch_of(self, count: int, first: int = 0) -> Mapping[str, Any]:
        """Return a batch of `count` of the samples on the device, in turn from `first` on."""
        samples = self.good_samples
        chosen = [samples[(first + i) % len(samples)] for i in range(count)]
        try:
            batch = default_collate(chosen)
        except Exception as error:
            raise Unavailable("the samples do not make a batch; see samples") from error
        moved: Mapping[str, Any] = map_tensors(lambda t: t.to(self.device), batch)
        return moved

    def fresh_model(self) -> nn.Module:
        """Return a model with the weights a run starts with, in training mode."""
        try:
            return self.new_model()
        except Unavailable:
            raise
        except Exception as error:
            raise Unavailable("the model cannot be built; see shapes") from error

    def new_model(self) -> nn.Module:
        """Return a model as `fresh_model` does, or whatever error building it raises."""
        seed_step(self.spec.train.seed, 0, 0)
        return self.task.build_model().to(self.device).train()

    def forward(self, model: nn.Module, batch: Mapping[str, Any]) -> Forward:
        """Return the loss of a batch with what went in and out of the model, or the error."""
        calls: list[Call] = []
        entered = [0]
        handles = [
            model.register_forward_pre_hook(lambda *_: entered.__setitem__(0, entered[0] + 1)),
            model.register_forward_hook(_note(calls), with_kwargs=True),
        ]
        seed_step(self.spec.train.seed, 1, 0)
        try:
            loss = self.loss(model, batch)
        except Exception as error:
            _log.info("the forward pass fails", exc_info=True)
            return Forward(tuple(calls), None, _short(error), entered[0] > len(calls))
        finally:
            for handle in handles:
                handle.remove()
        return Forward(tuple(calls), loss)

    def loss(self, model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the job's loss of a batch, in the run's precision."""
        with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            return self.task.training_step(model, batch)

    @cached_property
    def first_forward(self) -> Forward:
        """Return the forward pass of a fresh model on the small batch."""
        return self.forward(self.fresh_model(), self.small_batch)

    @cached_property
    def first_loss(self) -> float:
        """Return the loss of a fresh model on the small batch."""
        loss = self.first_forward.loss
        if loss is None or loss.numel() != 1 or not torch.isfinite(loss).all():
            raise Unavailable("there is no finite loss; see shapes and loss")
        return float(loss.detach())

    def backward(self, loss: torch.Tensor, model: nn.Module) -> None:
        """Leave the gradients of a loss in the model."""
        if self.autocast is not torch.float16:
            loss.backward()  # type: ignore[no-untyped-call]
            return
        (loss * _FP16_SCALE).backward()  # type: ignore[no-untyped-call]
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad /= _FP16_SCALE

    def input_key(self) -> str | None:
        """Return the entry of a batch that the model is given, said by the job or seen."""
        if self.task.input_key is not None:
            return self.task.input_key
        pointers = {t.data_ptr() for call in self.first_forward.calls for t in call.inputs}
        batch = self.small_batch
        return next((k for k, v in batch.items() if _points_into(v, pointers)), None)

    def target_key(self) -> str | None:
        """Return the entry that the model is to reproduce: said by the job, or the likeliest."""
        if self.task.target_key is not None:
            return self.task.target_key
        given = self.input_key()
        others = [k for k, v in self.small_batch.items() if _is_tensor(v) and k != given]
        outputs = [t for call in self.first_forward.calls for t in tensors_of(call.output)]
        for key in others:
            shape = self.small_batch[key].shape
            if any(shape == out.shape or shape[1:] == out.shape[2:] for out in outputs):
                return key
        return others[0] if len(others) == 1 else None


def synchronise(device: torch.device) -> None:
    """Wait for the device, so that a clock read next measures its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _note(calls: list[Call]) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        calls.append(Call(tuple(tensors_of([list(args), dict(kwargs)])), output))

    return hook


def _points_into(value: Any, pointers: set[int]) -> bool:
    return _is_tensor(value) and value.data_ptr() in pointers


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _as_tensor(value: Any) -> Any:
    return torch.as_tensor(value) if isinstance(value, _NUMERIC) else value


def _spread(places: list[int]) -> list[int]:
    """Return the places in an order that covers the whole range early, should time run out."""
    ordered: list[int] = []
    step = max(1, len(places) // 4)
    for offset in range(step):
        ordered += places[offset::step]
    return ordered


def _short(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"
