"""A worker whose node does not mount the run's folder says so, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.shared_folder import require_shared
from watchdog.errors import CheckpointError


def test_a_node_that_mounts_the_runs_folder_is_fine(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("name: template\n")
    require_shared(tmp_path, str(tmp_path / "checkpoints"), rank=0, host="a")


@pytest.mark.parametrize("checkpoints", ["/runs/one/checkpoints", "file:///runs/one/checkpoints"])
def test_a_node_that_does_not_is_named(tmp_path: Path, checkpoints: str) -> None:
    with pytest.raises(CheckpointError, match=r"rank 3 on 10\.0\.0\.7 does not see .* RUNS_DIR"):
        require_shared(tmp_path / "one", checkpoints, rank=3, host="10.0.0.7")
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_in_a_bucket_need_no_shared_folder(tmp_path: Path) -> None:
    require_shared(tmp_path / "one", "s3://bucket/one", rank=3, host="a")
