"""All ranks obey an order at the same step, though only one of them has heard of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.multiprocessing as mp

from tests.e2e.gloo_pair import serve

pytestmark = pytest.mark.group


class Pair:
    """Two processes that play one scenario after another."""

    def __init__(self) -> None:
        context = mp.get_context("spawn")
        self._scenarios = [context.Queue() for _ in range(2)]
        self._results = context.Queue()
        self._processes = [
            context.Process(target=serve, args=(r, 2, self._scenarios[r], self._results))
            for r in range(2)
        ]
        for process in self._processes:
            process.start()

    def play(self, folder: Path, *, hearing_rank: int, kind: str) -> list[tuple[Any, ...]]:
        for scenarios in self._scenarios:
            scenarios.put((str(folder), hearing_rank, kind))
        return sorted(self._results.get(timeout=120) for _ in self._processes)

    def close(self) -> None:
        for scenarios in self._scenarios:
            scenarios.put(None)
        for process in self._processes:
            process.join(timeout=60)
            assert process.exitcode == 0


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


@pytest.mark.parametrize("hearing_rank", [0, 1])
def test_a_rollback_leaves_the_ranks_bitwise_equal(
    pair: Pair, tmp_path: Path, hearing_rank: int
) -> None:
    first, second = pair.play(tmp_path, hearing_rank=hearing_rank, kind="rollback")
    assert first[1] == second[1] == 60
    assert first[3] == second[3], "parameters differ between the ranks"
    [(last_step, restored_step)] = first[4]
    assert restored_step == 16
    assert last_step >= 20


def test_a_stop_reaches_the_rank_that_did_not_hear_it(pair: Pair, tmp_path: Path) -> None:
    first, second = pair.play(tmp_path, hearing_rank=1, kind="stop")
    assert first[1] == second[1] < 60
    assert first[2] == second[2] == "stop"
    assert (tmp_path / "checkpoints" / f"step_{first[1]:08d}" / "manifest.json").is_file()


def test_a_change_of_the_rate_takes_effect_at_the_same_step_on_both_ranks(
    pair: Pair, tmp_path: Path
) -> None:
    first, second = pair.play(tmp_path, hearing_rank=1, kind="set_lr")
    assert first[1:3] == second[1:3] == (60, None)
    assert first[3] == second[3], "one rank trained a step at another rate than the other"
    assert first[4] == []
