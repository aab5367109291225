"""A job that fails its checks is refused before anything exists, whole processes and all."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.cli import main

pytestmark = pytest.mark.ray  # as slow as those, though it starts no cluster


def test_a_refused_submit_exits_with_4_and_writes_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # At such a rate one small batch cannot be learned.
    settings = "train.lr=1e30 train.clip_norm=null train.warmup_steps=0"
    options = ["--job", "template", "--runs-dir", str(tmp_path), "--run", "one", "--set", settings]
    assert main(["submit", *options]) == 4
    captured = capsys.readouterr()
    assert "preflight refused job template" in captured.err
    assert "nothing limits the gradient" in captured.out
    assert not (tmp_path / "one").exists()
