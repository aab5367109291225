"""All ranks obey an order at the same step, though only one of them has heard of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch.multiprocessing as mp

from tests.e2e.gloo_pair import run_rank


def run_pair(folder: Path, *, hearing_rank: int, kind: str) -> list[tuple[Any, ...]]:
    context = mp.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=run_rank, args=(r, 2, str(folder), hearing_rank, kind, results))
        for r in range(2)
    ]
    for process in processes:
        process.start()
    found = sorted(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    return found


@pytest.mark.parametrize("hearing_rank", [0, 1])
def test_a_rollback_leaves_the_ranks_bitwise_equal(tmp_path: Path, hearing_rank: int) -> None:
    first, second = run_pair(tmp_path, hearing_rank=hearing_rank, kind="rollback")
    assert first[1] == second[1] == 60
    assert first[3] == second[3], "parameters differ between the ranks"
    [(last_step, restored_step)] = first[4]
    assert restored_step == 16
    assert last_step >= 20


def test_a_stop_reaches_the_rank_that_did_not_hear_it(tmp_path: Path) -> None:
    first, second = run_pair(tmp_path, hearing_rank=1, kind="stop")
    assert first[1] == second[1] < 60
    assert first[2] == second[2] == "stop"
    assert (tmp_path / "checkpoints" / f"step_{first[1]:08d}" / "manifest.json").is_file()


def test_a_change_of_the_rate_takes_effect_at_the_same_step_on_both_ranks(tmp_path: Path) -> None:
    first, second = run_pair(tmp_path, hearing_rank=1, kind="set_lr")
    assert first[1:3] == second[1:3] == (60, None)
    assert first[3] == second[3], "one rank trained a step at another rate than the other"
    assert first[4] == []
