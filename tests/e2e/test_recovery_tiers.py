"""Worker processes regroup, and a spare takes over, to the same end as an untouched run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.multiprocessing as mp

from tests.e2e.crew import Front, Scenario, play, wait_in_vain
from watchdog.ledger import read_ledger
from watchdog.tiers import RecoveryConfig

Results = list[tuple[int, str]]

pytestmark = pytest.mark.group


class Crew:
    """Three worker processes: two ranks and a spare."""

    def __init__(self) -> None:
        context = mp.get_context("spawn")
        self.front = Front()
        self._results = context.Queue()
        self._scenarios = [context.Queue() for _ in range(3)]
        self._processes = [
            context.Process(target=play, args=(n, queue, self._results))
            for n, queue in enumerate(self._scenarios)
        ]
        for process in self._processes:
            process.start()

    def play(self, scenario: Scenario, *, deaths: int = 0) -> Results:
        """Return what the two processes say that trained to the end."""
        for queue in self._scenarios:
            queue.put(scenario)
        alive = len(self._processes) - deaths
        found = [self._results.get(timeout=120) for _ in range(alive)]
        assert [left for *_, left in found] == [None] * alive
        return [(step, digest) for _, has_trained, step, digest, _ in found if has_trained]

    def close(self) -> None:
        for queue in self._scenarios:
            queue.put(None)
        for process in self._processes:
            process.join(timeout=10)
            if process.is_alive():
                process.kill()
        self.front.close()


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.close()


@pytest.fixture(scope="module")
def untouched(crew: Crew, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("untouched") / "run"
    results = crew.play(crew.front.open(folder, RecoveryConfig(spares=1)))
    assert results == [results[0]] * 2
    return results[0][1]


def tiers(folder: Path) -> list[tuple[str, int]]:
    return [
        (line["tier"], line["steps_lost"])
        for line in read_ledger(folder / "ledger.jsonl")
        if line["kind"] == "recovery_done"
    ]


def test_exceptions_on_one_rank_and_on_both_are_healed_by_regrouping(
    crew: Crew, tmp_path: Path, untouched: str
) -> None:
    drill = "exception@step=20,rank=1;exception@step=41,rank=0;exception@step=41,rank=1"
    folder = tmp_path / "run"
    results = crew.play(crew.front.open(folder, RecoveryConfig(spares=1), drill=drill))
    found = tiers(folder)
    assert [tier for tier, _ in found] == ["regroup", "regroup"]
    assert all(0 <= lost <= 8 for _, lost in found), "no more than one memory checkpoint's interval"
    assert results == [(60, untouched)] * 2


def test_after_running_out_of_memory_a_regrouped_run_accumulates_smaller_batches(
    crew: Crew, tmp_path: Path, untouched: str
) -> None:
    folder = tmp_path / "run"
    drill = "oom@step=20,rank=1"
    results = crew.play(crew.front.open(folder, RecoveryConfig(spares=1), drill=drill))
    assert [tier for tier, _ in tiers(folder)] == ["regroup"], "the first new attempt broke"
    assert results == [results[0]] * 2
    assert results[0][0] == 60
    assert results[0][1] != untouched, "a sum of two halves is rounded differently"


def test_an_exception_before_the_first_step_starts_over_from_the_untrained_model(
    crew: Crew, tmp_path: Path, untouched: str
) -> None:
    folder = tmp_path / "run"
    drill = "exception@step=1,rank=0"
    results = crew.play(crew.front.open(folder, RecoveryConfig(spares=1), drill=drill))
    assert results == [(60, untouched)] * 2


def test_a_model_that_is_shared_out_is_built_anew_and_fed_from_each_ranks_own_memory(
    crew: Crew, tmp_path: Path
) -> None:
    recovery = RecoveryConfig(spares=1)
    calm = crew.play(crew.front.open(tmp_path / "calm", recovery, strategy="fsdp"))
    folder = tmp_path / "run"
    drill = "exception@step=20,rank=1;exception@step=41,rank=0"
    healed = crew.play(crew.front.open(folder, recovery, strategy="fsdp", drill=drill))
    assert [tier for tier, _ in tiers(folder)] == ["regroup", "regroup"]
    assert {step for step, _ in healed} == {60}
    assert sorted(healed) == sorted(calm), "the part of a rank differs"
    assert calm[0] != calm[1], "both ranks hold the same: nothing was shared out"


def test_a_spare_takes_the_place_of_a_killed_rank_0_and_is_fed_by_the_survivor(
    crew: Crew, tmp_path: Path, untouched: str
) -> None:
    folder = tmp_path / "run"
    scenario = crew.front.open(
        folder, RecoveryConfig(spares=1), drill="exception@step=12,rank=1;kill@step=30,rank=0"
    )
    results = crew.play(scenario, deaths=1)
    assert [tier for tier, _ in tiers(folder)] == ["regroup", "spare"]
    assert results == [(60, untouched)] * 2


def test_a_rank_that_waits_in_a_collective_is_freed_by_another_thread() -> None:
    context = mp.get_context("spawn")
    ports, results = context.Queue(), context.Queue()
    ranks = [context.Process(target=wait_in_vain, args=(r, ports, results)) for r in range(2)]
    for process in ranks:
        process.start()
    assert {results.get(timeout=60), results.get(timeout=60)} == {"idle", "RuntimeError"}
    for process in ranks:
        process.join(timeout=30)
        assert process.exitcode == 0
