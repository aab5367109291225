"""A model that is shared out over the ranks survives what a replicated one does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch.multiprocessing as mp

from runner.checkpoints import CheckpointStore
from runner.recovery import RestorePoint
from runner.sharded_checkpoints import load_whole
from tests.e2e.fsdp_pair import STEPS, Scene, Told, digest, run_scenes
from watchdog.records import Storage

pytestmark = pytest.mark.group

FRESH = RestorePoint(0, None)


def durable(step: int) -> tuple[RestorePoint, ...]:
    return (RestorePoint(step, Storage.DURABLE), FRESH)


#: Each has a folder of its own, but for those that go on from what an earlier one has left.
PAIR = {
    "untouched": Scene(folder="a", every_steps=10),
    "resumed": Scene(folder="a", every_steps=1000, restore=durable(20)),
    "damaged": Scene(
        folder="d", damages="a", restore=(RestorePoint(30, Storage.DURABLE), *durable(20))
    ),
    "copied": Scene(folder="c", copies="copies"),
    "from copies": Scene(
        folder="f", copies="copies", restore=(RestorePoint(32, Storage.MEMORY), FRESH)
    ),
    "rolled back": Scene(folder="b", order="rollback"),
    "rolled back from storage": Scene(
        folder="s", order="rollback", every_steps=10, memory_limit_gb=0.0
    ),
    "one nan": Scene(folder="n", drill="nan@step=5,rank=1", max_steps=8),
    "bad part": Scene(folder="w", drill="nan_weights@step=9,rank=1", max_steps=17),
    "disk full": Scene(folder="o", drill="disk_full@step=8,count=5", every_steps=10, max_steps=20),
    "ddp": Scene(folder="r", strategy="ddp", every_steps=20),
    "from a whole": Scene(folder="r", restore=durable(20), max_steps=20),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fsdp")


def go_through(
    folder: Path, world_size: int, scenes: Mapping[str, Scene]
) -> dict[str, tuple[Told, ...]]:
    context = mp.get_context("spawn")
    results = context.Queue()
    meeting = str(folder / f"meeting_{world_size}")
    processes = [
        context.Process(
            target=run_scenes, args=(rank, world_size, str(folder), meeting, scenes, results)
        )
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    told: dict[str, list[Told]] = defaultdict(list)
    for _ in range(world_size * len(scenes)):
        name, one = results.get(timeout=120)
        assert isinstance(one, Told), f"{name}: {one}"
        told[name].append(one)
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    return {name: tuple(sorted(ones, key=lambda t: t.rank)) for name, ones in told.items()}


@pytest.fixture(scope="module")
def pair(folder: Path) -> dict[str, tuple[Told, ...]]:
    return go_through(folder, 2, PAIR)


def test_the_ranks_hold_parts_of_one_model(pair: dict[str, tuple[Told, ...]]) -> None:
    first, second = pair["untouched"]
    assert first.digest == second.digest
    assert first.metrics == second.metrics
    assert first.average != second.average, "each rank averages its own part"
    whole = 4 * first.whole_bytes  # weights, two of the optimizer, the average
    assert 0.4 * whole < second.part_bytes < 0.7 * whole


def test_it_learns_as_a_replicated_model_does(pair: dict[str, tuple[Told, ...]]) -> None:
    for ours, theirs in zip(pair["untouched"], pair["ddp"], strict=True):
        early = range(1, 11)
        assert [ours.losses[s] for s in early] == pytest.approx(
            [theirs.losses[s] for s in early], rel=1e-3
        )


def test_every_checkpoint_is_written_in_parts_and_found_finite(
    pair: dict[str, tuple[Told, ...]], folder: Path
) -> None:
    first, second = pair["untouched"]
    assert first.durable == dict.fromkeys((10, 20, 30, 40), True)
    assert first.memory == dict.fromkeys((0, 8, 10, 16, 20, 24, 30, 32, 40), True)
    assert (second.durable, second.memory) == ({}, {}), "rank 0 speaks for all"
    files = {p.name for p in (folder / "a" / "step_00000040").iterdir()}
    assert files == {".metadata", "__0_0.distcp", "__1_0.distcp", "manifest.json", "plain.pt"}


@pytest.mark.parametrize("name", ["resumed", "from copies", "copied"])
def test_an_interrupted_run_ends_bitwise_like_an_untouched_one(
    pair: dict[str, tuple[Told, ...]], name: str
) -> None:
    for ours, theirs in zip(pair[name], pair["untouched"], strict=True):
        assert min(ours.losses) == {"resumed": 21, "from copies": 33, "copied": 1}[name]
        assert (ours.step, ours.digest, ours.average, ours.metrics) == (
            STEPS,
            theirs.digest,
            theirs.average,
            theirs.metrics,
        )
        assert all(loss == theirs.losses[step] for step, loss in ours.losses.items())


def test_a_damaged_part_is_found_and_passed_over_by_all(
    pair: dict[str, tuple[Told, ...]], folder: Path
) -> None:
    first, second = pair["damaged"]
    assert {*first.failed, *second.failed} == {(30, "restore")}
    assert min(first.losses) == min(second.losses) == 21
    assert first.digest == second.digest == pair["untouched"][0].digest


@pytest.mark.parametrize(
    ("name", "restored_step", "storage"),
    [("rolled back", 16, "memory"), ("rolled back from storage", 10, "durable")],
)
def test_an_order_heard_by_one_rank_takes_all_back_in_place(
    pair: dict[str, tuple[Told, ...]], name: str, restored_step: int, storage: str
) -> None:
    first, second = pair[name]
    [(last_step, step, where)] = first.rollbacks
    assert (step, where) == (restored_step, storage)
    assert last_step >= 20
    assert first.step == second.step == STEPS
    assert first.digest == second.digest


def test_a_run_too_large_for_memory_trains_on_with_durable_checkpoints(
    pair: dict[str, tuple[Told, ...]],
) -> None:
    assert pair["rolled back from storage"][0].memory == {}
    assert set(pair["rolled back from storage"][0].durable) == {10, 20, 30, 40}


def test_a_gradient_that_is_not_finite_on_one_rank_is_skipped_by_all(
    pair: dict[str, tuple[Told, ...]],
) -> None:
    first, second = pair["one nan"]
    assert first.skipped == second.skipped == [5]
    assert first.digest == second.digest


def test_a_bad_number_in_the_part_of_another_rank_is_told_by_rank_0(
    pair: dict[str, tuple[Told, ...]],
) -> None:
    memory = pair["bad part"][0].memory
    assert memory[8]
    assert not memory[16]


def test_a_disk_that_is_full_for_one_rank_leaves_no_checkpoint_and_no_leftovers(
    pair: dict[str, tuple[Told, ...]], folder: Path
) -> None:
    first, second = pair["disk full"]
    assert first.failed == [(10, "save")]
    assert second.failed == []
    assert first.durable == {20: True}
    assert [p.name for p in (folder / "o").iterdir()] == ["step_00000020"]


def weights_of(store: CheckpointStore, step: int) -> str:
    tree, _ = load_whole(store, step)
    names = [n for n in tree["model"] if "running" not in n and "batches" not in n]
    return digest({name: tree["model"][name] for name in names})


def test_a_whole_checkpoint_is_cut_into_parts(
    pair: dict[str, tuple[Told, ...]], folder: Path
) -> None:
    first, second = pair["from a whole"]
    assert first.digest == second.digest == weights_of(CheckpointStore(str(folder / "r")), 20)


def test_parts_are_read_at_another_number_of_ranks(
    pair: dict[str, tuple[Told, ...]], folder: Path
) -> None:
    assert pair
    scene = Scene(folder="a", restore=durable(40), max_steps=40)
    goes_on = Scene(folder="a", restore=durable(40), max_steps=44)
    trio = go_through(folder, 3, {"as it was": scene, "goes on": goes_on})
    expected = weights_of(CheckpointStore(str(folder / "a")), 40)
    assert {told.digest for told in trio["as it was"]} == {expected}
    assert {tuple(told.losses) for told in trio["goes on"]} == {(41, 42, 43, 44)}
    assert len({told.digest for told in trio["goes on"]}) == 1
