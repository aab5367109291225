"""Memory: an estimate for every rank of this node, against what is free; the largest micro-batch.

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from runner.plain_words import size
from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, failed, passed, warned
from runner.preflight.footprint import measure

ORDER = 51
TITLE = "memory"

#: Python, torch and the libraries of one worker process. Chosen: seen with the vesuvius job.
_PROCESS_BYTES = 700 * 2**20
#: Chosen: allocators fragment, and other processes live here too.
_USABLE = 0.9
#: Chosen: whether a micro-batch could be a hundred or a million times larger helps nobody.
_MANY = 100


def check(bench: Bench) -> Iterator[Finding]:
    """Compare what the run needs here with what is free."""
    found = measure(bench)
    train = bench.spec.train
    per_rank = -(-train.batch_size // bench.ranks)
    micro = min(per_rank, train.micro_batch_size or per_rank)
    on_gpu = bench.device.type == "cuda"
    ranks = 1 if on_gpu else bench.ranks
    held = found.static_bytes
    if not on_gpu:
        # Memory checkpoints live in the ranks' own RAM; on a GPU they do not take its memory.
        held += _PROCESS_BYTES + bench.spec.checkpoints.memory_keep * found.state_bytes
    needed = ranks * (held + micro * found.sample_bytes)
    free = _free_bytes(bench)
    largest = int((free * _USABLE / ranks - held) / max(1.0, found.sample_bytes))
    where = "GPU memory" if on_gpu else f"memory for {ranks} rank{'s' if ranks > 1 else ''}"
    text = (
        f"about {size(int(needed))} of {size(free)} free {where}, micro-batch {micro} of "
        f"{size(int(found.sample_bytes))} a sample; "
        + (f"the largest that fits is about {largest}" if largest < _MANY * micro else "many fit")
    )
    numbers = {
        "memory_bytes": needed,
        "free_bytes": float(free),
        "sample_bytes": found.sample_bytes,
        "state_bytes": float(found.state_bytes),
        "largest_micro_batch": float(largest),
    }
    remedy = (
        f"set train.micro_batch_size={max(1, min(micro - 1, largest))}: gradients of smaller parts "
        "are added up to the same step"
    )
    if needed > free:
        yield failed(f"{text}: too little", remedy, **numbers)
    elif needed > _USABLE * free:
        yield warned(f"{text}: close", remedy, **numbers)
    else:
        yield passed(text, **numbers)


def _free_bytes(bench: Bench) -> int:
    if bench.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(bench.device)
        return int(free)
    return available_bytes()


def available_bytes(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> int:
    """Return the free memory of this machine, or of the container if that has less."""
    lines = meminfo.read_text().splitlines()
    found = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or "max"
        return found
    return min(found, max(0, limit - used))
