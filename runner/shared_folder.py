"""Whether a worker sees the run's folder: on a cluster it must be on storage that all nodes mount.

Runs in: worker.
"""

from __future__ import annotations

from pathlib import Path

from watchdog.errors import CheckpointError


def require_shared(run_dir: Path, checkpoints: str, *, rank: int, host: str) -> None:
    """Refuse to write checkpoints into a folder that only looks like the run's.

    A folder of the same name on a node's own disk would take them without a word, and a recovery
    would look for them elsewhere. Where checkpoints go to a bucket, only logs are left on a node.

    Raises:
        CheckpointError: the run's own files are not where the driver wrote them.
    """
    is_local = "://" not in checkpoints or checkpoints.startswith("file://")
    if is_local and not (run_dir / "job.yaml").is_file():
        raise CheckpointError(
            f"rank {rank} on {host} does not see the run's folder {run_dir}: no job.yaml is there; "
            "likely the runs folder is on the head's own disk; name one that all nodes mount with "
            f"RUNS_DIR, or a bucket with checkpoints.path, now {checkpoints}"
        )
