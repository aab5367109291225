"""What lies in parts is read without running anything in it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from runner.bells import PolledBell, steps_between_calls
from runner.checkpoints import CheckpointStore
from runner.sharded_checkpoints import _SafeReader, _TensorsOnly
from runner.shards import Share
from runner.strategy import units_of
from watchdog.errors import CheckpointDamaged


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (str(self._path),))


@pytest.mark.parametrize("content", ["code", "another", "torn"])
def test_a_table_of_contents_cannot_run_code(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "c" / "step_00000008"
    folder.mkdir(parents=True)
    owned = tmp_path / "owned"
    whole = pickle.dumps(Evil(owned) if content == "code" else {"no": "table"})
    (folder / ".metadata").write_bytes(whole[:-3] if content == "torn" else whole)
    with pytest.raises(CheckpointDamaged, match="table of contents"):
        _SafeReader(CheckpointStore(str(tmp_path / "c")), 8).read_metadata()
    assert not owned.exists()


def test_a_value_that_is_no_tensor_is_refused() -> None:
    class Item:
        dest_index = type("Index", (), {"fqn": "optimizer/state"})

    with pytest.raises(CheckpointDamaged, match="optimizer/state"):
        _TensorsOnly().load_bytes(Item(), b"")


@pytest.mark.parametrize(
    ("rows", "ranks", "parts"), [(5, 2, [3, 2]), (1, 2, [1, 0]), (4, 3, [2, 2, 0])]
)
def test_a_whole_is_cut_as_fsdp_does(rows: int, ranks: int, parts: list[int]) -> None:
    whole = torch.arange(rows * 2).reshape(rows, 2)
    share = Share(whole.shape, whole.stride(), ())
    cut = [share.cut(whole, rank, ranks) for rank in range(ranks)]
    assert [len(part) for part in cut] == parts
    assert torch.equal(torch.cat(cut), whole)


def test_units_are_large_enough_and_never_inside_what_calls_no_children() -> None:
    block = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    attention = nn.MultiheadAttention(8, 2)
    model = nn.ModuleDict({"blocks": nn.ModuleList([block]), "attention": attention})
    assert units_of(model, 30) == [block, attention]
    assert units_of(model, 16) == [block[0], block[1], attention]
    assert units_of(model, 1000) == []


def test_a_parameter_in_two_places_leaves_one_unit() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert units_of(nn.Sequential(first, second), 1) == []


@pytest.mark.parametrize(
    ("step_s", "steps"), [(10.0, 1), (0.1, 1), (0.03, 4), (0.001, 64), (0.0, 64)]
)
def test_a_call_comes_a_tenth_of_a_second_apart(step_s: float, steps: int) -> None:
    assert steps_between_calls(step_s) == steps


def test_all_ranks_call_in_the_same_step_as_the_slowest_wants() -> None:
    """Each rank's steps take their own time; what they say is the largest over all."""
    clock = 0.0
    rings: list[int] = []
    found: list[tuple[int, int]] = []

    def largest(mine: tuple[int, ...]) -> list[int]:
        peer = (0, 50_000, -8, -16)  # a slow rank, which has judged step 8 and found 16 bad
        return [max(pair) for pair in zip(mine, peer, strict=True)]

    bell = PolledBell(largest, lambda: (24, 99), found.append, lambda: clock)  # type: ignore[arg-type]
    bell.ring(True)
    for step in range(1, 8):
        clock += 0.001
        if bell.listen():
            rings.append(step)
    assert rings == [1, 3, 5, 7], "two steps of 50 ms are a tenth of a second"
    assert found[0] == (8, 16)
