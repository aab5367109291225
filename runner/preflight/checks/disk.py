"""Room for the checkpoints, and shared memory for the loader processes.

Runs in: preflight's own process.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from runner.plain_words import size
from runner.preflight.bench import Bench, Unavailable
from runner.preflight.findings import Finding, failed, passed, unchecked, warned
from runner.preflight.footprint import measure
from runner.state import tensors_of

ORDER = 52
TITLE = "disk and shared memory"

#: Besides those kept: the last trusted one and the one that is being written.
_MORE_CHECKPOINTS = 2
_SHARED = Path("/dev/shm")  # where Linux has shared memory


def check(bench: Bench) -> Iterator[Finding]:
    """Compare checkpoints with the disk, and batches under way with shared memory."""
    try:
        yield _room(bench, measure(bench).state_bytes)
    except Unavailable as error:
        yield unchecked(f"size of a checkpoint: {error}")
    if bench.spec.data.loader_workers:
        yield _shared_memory(bench)


def _room(bench: Bench, state_bytes: int) -> Finding:
    given = bench.spec.checkpoints.path
    if given is not None and "://" in given:
        return unchecked(f"room at {given}: only a local disk says how much there is")
    folder = Path(given or bench.run_dir).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    count = bench.spec.checkpoints.keep + _MORE_CHECKPOINTS
    needed = count * state_bytes
    text = (
        f"{count} checkpoints of {size(state_bytes)} take {size(needed)} of {size(free)} free on "
        f"{folder}"
    )
    remedy = "free the disk, set checkpoints.path to another, or lower checkpoints.keep"
    numbers = {"checkpoint_bytes": float(state_bytes), "disk_free_bytes": float(free)}
    if needed > free:
        return failed(text, remedy, **numbers)
    if needed > free / 2:
        return warned(text, remedy, **numbers)
    return passed(text, **numbers)


def _shared_memory(bench: Bench) -> Finding:
    data = bench.spec.data
    batch = sum(t.nbytes for t in tensors_of(dict(bench.small_batch)))
    samples = max(len(t) for t in tensors_of(dict(bench.small_batch)) if t.ndim > 0)
    per_rank = -(-bench.spec.train.batch_size // bench.ranks)
    ahead = data.loader_workers * data.prefetch * bench.ranks
    needed = int(batch / samples * per_rank * ahead)
    if not _SHARED.is_dir():
        return unchecked("this machine has no /dev/shm")
    free = shutil.disk_usage(_SHARED).free
    text = f"{ahead} batches under way take {size(needed)} of {size(free)} shared memory"
    if needed > free:
        return failed(
            text,
            "give the container more (docker run --shm-size), or lower data.loader_workers or "
            "data.prefetch",
        )
    return passed(text)
