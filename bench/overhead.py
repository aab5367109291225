"""What Watchkeeper costs a step: a bare loop against the session's, in alternating blocks.

The same model and data in both loops; the bare one loads its batches alike, clips and steps, so
the difference is seeding, doorbell, reflex and telemetry. With `--ranks 2`: DDP over gloo and a
real watchdog actor on Ray, which shares the cores with the ranks. With `--ranks 1`: one process
and a watchdog that answers at once, which leaves what the training process itself pays.

    python -m bench.overhead [--ranks 2] [--job vesuvius] [--data FOLDER] [--blocks 20] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from runner.batches import BatchStream
from runner.channel import Channel
from runner.checkpoints import CheckpointStore
from runner.device import Placement
from runner.job import Job
from runner.ray_backend import RayBackend
from runner.recovery import AttemptPlan
from runner.sampler import SampleOrder
from runner.session import Session
from runner.spec_reader import read_spec
from runner.submit import find_data
from runner.task import TaskContext
from runner.watchdog_link import ray_channel
from watchdog.actor import NAMESPACE, actor_name
from watchdog.records import Order, Record


class SilentChannel:
    """A watchdog that takes everything and orders nothing."""

    keeps_copies = False

    def exchange(self, records: Sequence[Record]) -> Order | None:
        """Take records in."""

    def claim(self, key: str) -> int:
        """Return 0: there are no drills here."""
        return 0

    def end_watchdog(self) -> None:
        """Do nothing: there is none."""

    def trust(self) -> Mapping[int, str]:
        """Return nothing: there are no durable checkpoints here."""
        return {}

    def hold(self, step: int, payload: Mapping[str, Any]) -> Sequence[int]:
        """Keep nothing."""
        return ()

    def held(self, step: int, rank: int = 0) -> Mapping[str, Any] | None:
        """Return None: nothing is kept."""
        return None

    def held_steps(self) -> Sequence[int]:
        """Return none."""
        return ()

    def drop_held_after(self, step: int) -> None:
        """Do nothing: nothing is kept."""

    def copy_room_bytes(self) -> int:
        """Return 0: nothing is kept."""
        return 0


class Rank:
    """One rank with both loops over models of its own."""

    def __init__(self, job: Job, rank: int, ranks: int, folder: str, run_id: str) -> None:
        torch.set_num_threads(1)
        channel: Channel = SilentChannel()
        if ranks > 1:
            store_url = f"file://{folder}/store"
            dist.init_process_group("gloo", init_method=store_url, rank=rank, world_size=ranks)
            watchdog = actor_name(run_id, f"{folder}/{run_id}")
            channel = ray_channel(ray.get_actor(watchdog, namespace=NAMESPACE))
        place = Placement(rank, ranks, torch.device("cpu"), local_world_size=ranks)
        data = None if job.data_dir is None else Path(job.data_dir)
        context = TaskContext(
            train=job.spec.train,
            data_dir=data,
            cache_dir=Path(job.cache_dir),
            device=place.device,
            rank=rank,
            world_size=ranks,
        )
        self._task = job.task_class()(job.task_config, context)
        store = CheckpointStore(f"{folder}/checkpoints")
        self._session = Session(job.spec, AttemptPlan(), place, channel, store)
        torch.manual_seed(0)
        model = self._task.build_model()
        self._session.begin(model, self._task.build_optimizer(model), self._task.train_data())
        torch.manual_seed(0)
        bare = self._task.build_model()
        self._bare: torch.nn.Module = bare
        if ranks > 1:
            self._bare = DistributedDataParallel(bare, gradient_as_bucket_view=True)
        self._optimizer = self._task.build_optimizer(bare)
        train, source = job.spec.train, self._task.train_data()
        self._batches = BatchStream(
            source,
            lambda position, skip: SampleOrder(
                size=len(source), batch_size=train.batch_size, seed=train.seed, position=position
            ),
            rank=rank,
            world_size=ranks,
            seed=train.seed,
        )

    def bare_block(self, steps: int) -> list[float]:
        """Return the seconds of each step of the bare loop."""
        seconds = []
        for _ in range(steps):
            started = time.perf_counter()
            [(part, _)] = self._batches.next().parts
            self._optimizer.zero_grad(set_to_none=True)
            self._task.training_step(self._bare, part).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._bare.parameters(), 1.0)
            self._optimizer.step()
            seconds.append(time.perf_counter() - started)
        return seconds

    def guarded_block(self, steps: int) -> list[float]:
        """Return the seconds of each step of the session's loop."""
        seconds = []
        session = self._session
        for _ in range(steps):
            started = time.perf_counter()
            [(part, samples)] = session.next_batch().parts
            loss = self._task.training_step(session.model, part)
            session.backward(loss, samples, is_last=True)
            session.finish_step(loss.detach())
            seconds.append(time.perf_counter() - started)
        return seconds


def measure(job: Job, ranks: int, blocks: int, steps: int) -> dict[str, Any]:
    """Return medians in microseconds, and the extra of each pair of blocks."""
    with tempfile.TemporaryDirectory() as folder:
        if ranks == 1:
            alone = Rank(job, 0, 1, folder, "")
            return _compare(lambda name: getattr(alone, name)(steps), blocks)
        run_id = f"bench-{time.time_ns()}"
        run_dir = Path(folder) / run_id
        run_dir.mkdir()
        backend = RayBackend(job, run_id, run_dir, f"{folder}/checkpoints")
        backend.start()
        actor = ray.remote(num_cpus=1)(Rank)
        group = [actor.remote(job, rank, ranks, folder, run_id) for rank in range(ranks)]

        def run(name: str) -> list[float]:
            parts = ray.get([getattr(member, name).remote(steps) for member in group])
            return [seconds for part in parts for seconds in part]

        try:
            return _compare(run, blocks)
        finally:
            for member in group:
                ray.kill(member)
            backend.close()


def _compare(run: Callable[[str], list[float]], blocks: int) -> dict[str, Any]:
    order = ("bare_block", "guarded_block")
    for name in order:
        run(name)  # warm-up
    bare, guarded, extra = [], [], []
    for number in range(blocks):
        found = {n: statistics.median(run(n)) for n in (order if number % 2 else order[::-1])}
        bare.append(found["bare_block"])
        guarded.append(found["guarded_block"])
        extra.append(found["guarded_block"] - found["bare_block"])
    quartiles = statistics.quantiles(extra, n=4)
    return {
        "bare_step_us": statistics.median(bare) * 1e6,
        "guarded_step_us": statistics.median(guarded) * 1e6,
        "extra_us": quartiles[1] * 1e6,
        "extra_us_quartiles": [quartiles[0] * 1e6, quartiles[2] * 1e6],
        "extra_ratio": quartiles[1] / statistics.median(bare),
        "blocks": blocks,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", default="template")
    parser.add_argument("--data")
    parser.add_argument("--ranks", type=int, default=2, choices=(1, 2))
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--memory-every", type=int, default=10**6)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    settings = {
        "train.max_steps": 10**6,
        "watchdog.port": 0,
        "checkpoints.every_steps": 10**6,
        "checkpoints.memory_every_steps": args.memory_every,
    }
    overrides = [f"{name}={value}" for name, value in settings.items()]
    resolved = read_spec(args.job, overrides=overrides, data=args.data)
    with tempfile.TemporaryDirectory() as cache:
        job = find_data(args.job, resolved, Path(cache))
        job.prepare()
        found = measure(job, args.ranks, args.blocks, args.steps)
    if args.json:
        print(json.dumps({"job": args.job, "ranks": args.ranks, **found}))
        return
    low, high = found["extra_us_quartiles"]
    print(
        f"{args.job}, ranks {args.ranks}: bare step {found['bare_step_us']:.0f} us, "
        f"with Watchkeeper {found['guarded_step_us']:.0f} us; extra {found['extra_us']:.0f} us "
        f"[{low:.0f}, {high:.0f}] = {found['extra_ratio']:.2%} of a step"
    )


if __name__ == "__main__":
    main()
