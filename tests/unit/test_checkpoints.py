"""Durable checkpoints: written whole or not at all, and found out when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from runner.checkpoints import CheckpointStore, to_retire
from runner.state import StateInfo
from watchdog.errors import CheckpointDamaged, CheckpointError


def info(step: int) -> StateInfo:
    return StateInfo(step=step, generation=1, position=step * 4, world_size=2, seed=7)


def tree(value: float) -> dict[str, object]:
    return {
        "model": {"w": torch.full((3, 2), value), "h": torch.ones(2, dtype=torch.bfloat16)},
        "optimizer": {"state": {0: {"step": torch.tensor(4.0)}}, "param_groups": [{"lr": 0.1}]},
    }


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(str(tmp_path / "checkpoints"))


def test_what_is_saved_is_loaded_bit_for_bit(store: CheckpointStore) -> None:
    store.save(tree(0.1), info(40), {"epoch": 1.5})
    loaded, at = store.load(40)
    assert at == info(40)
    assert torch.equal(loaded["model"]["w"], torch.full((3, 2), 0.1))
    assert loaded["model"]["h"].dtype is torch.bfloat16
    assert loaded["optimizer"]["param_groups"] == [{"lr": 0.1}]
    assert store.steps() == (40,)


def test_the_manifest_says_what_is_in_it(store: CheckpointStore) -> None:
    saved = store.save(tree(1.0), info(40), {"epoch": 1.5})
    manifest = store.manifest(40)
    assert manifest["step"] == 40
    assert manifest["position"] == 160
    assert manifest["world_size"] == 2
    assert manifest["trust"] == "candidate"
    assert manifest["epoch"] == 1.5
    assert manifest["files"]["state.pt"]["bytes"] == saved.size_bytes
    assert "seed" in manifest["rng"]


def test_a_url_is_as_good_as_a_folder(tmp_path: Path) -> None:
    store = CheckpointStore(f"file://{tmp_path}/elsewhere")
    store.save(tree(1.0), info(8), {})
    assert (tmp_path / "elsewhere" / "step_00000008" / "manifest.json").is_file()


def test_a_file_system_of_fsspec_will_do() -> None:
    store = CheckpointStore("memory://bucket/run")
    store.save(tree(0.5), info(8), {})
    store.save(tree(0.7), info(16), {})
    store.set_trust(8, "trusted")
    assert store.steps() == (8, 16)
    assert store.manifest(8)["trust"] == "trusted"
    store.remove(8)
    assert store.steps() == (16,)
    loaded, _ = store.load(16)
    assert float(loaded["model"]["w"][0, 0]) == pytest.approx(0.7)


def test_a_place_that_does_not_exist_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"checkpoints\.path"):
        CheckpointStore("nowhere://bucket/x")


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_state_is_found_out(store: CheckpointStore, damage: str) -> None:
    path = Path(store.save(tree(1.0), info(8), {}).path) / "state.pt"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    elif damage == "truncate":
        path.write_bytes(bytes(data[:-10]))
    else:
        path.unlink()
    with pytest.raises(CheckpointDamaged, match=r"state\.pt"):
        store.load(8)


def test_a_folder_without_a_manifest_is_no_checkpoint(store: CheckpointStore) -> None:
    path = Path(store.save(tree(1.0), info(8), {}).path)
    (path / "manifest.json").unlink()
    assert store.steps() == ()
    with pytest.raises(CheckpointError, match="manifest"):
        store.load(8)


def test_a_checkpoint_cannot_run_code(store: CheckpointStore, tmp_path: Path) -> None:
    path = Path(store.save(tree(1.0), info(8), {}).path)

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "owned"),))

    torch.save({"model": Evil()}, path / "state.pt")
    manifest = json.loads((path / "manifest.json").read_text())
    import hashlib

    data = (path / "state.pt").read_bytes()
    manifest["files"]["state.pt"]["sha256"] = hashlib.sha256(data).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError):
        store.load(8)
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_in_quarantine_is_out_of_sight_and_stays_for_a_look(
    store: CheckpointStore,
) -> None:
    path = Path(store.save(tree(1.0), info(8), {}).path)
    store.save(tree(1.0), info(16), {})
    store.quarantine(16)
    store.quarantine(16)  # two ranks may find the same damage
    assert store.steps() == (8,)
    assert (path.parent / "step_00000016" / "state.pt").is_file()
    store.save(tree(2.0), info(16), {})
    assert store.steps() == (8, 16), "a new one of the same step takes its place"


def test_a_sweep_removes_what_a_killed_writer_left(store: CheckpointStore) -> None:
    root = Path(store.save(tree(1.0), info(8), {}).path).parent
    for step in (16, 24, 32):
        store.save(tree(1.0), info(step), {})
        store.quarantine(step)
    (root / "step_00000040.partial").mkdir()
    (root / "step_00000008.old").mkdir()
    (root / "step_00000008").rename(root / "step_00000048.old")  # died between two renames
    store.sweep()
    assert store.steps() == (48,)
    assert sorted(p.name for p in root.iterdir() if p.suffix) == []
    assert not (root / "step_00000016").exists(), "only the newest in quarantine are kept"
    assert (root / "step_00000032").is_dir()


def test_storage_that_does_not_answer_is_not_taken_for_damage(store: CheckpointStore) -> None:
    path = Path(store.save(tree(1.0), info(8), {}).path)
    (path / "manifest.json").unlink()
    (path / "manifest.json").mkdir()  # an error of the system that says nothing of the file
    with pytest.raises(CheckpointError) as caught:
        store.manifest(8)
    assert not isinstance(caught.value, CheckpointDamaged)


def test_saving_a_step_again_replaces_it(store: CheckpointStore) -> None:
    store.save(tree(1.0), info(8), {})
    store.save(tree(2.0), info(8), {})
    loaded, _ = store.load(8)
    assert float(loaded["model"]["w"][0, 0]) == 2.0


def test_trust_is_written_into_the_manifest(store: CheckpointStore) -> None:
    store.save(tree(1.0), info(8), {})
    store.set_trust(8, "trusted")
    assert store.manifest(8)["trust"] == "trusted"
    store.set_trust(99, "trusted")  # one that is gone is nobody's loss
    assert store.steps() == (8,)


def test_storage_that_refuses_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path / "c"))
    (tmp_path / "c").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="step 8"):
        store.save(tree(1.0), info(8), {})


@pytest.mark.parametrize(
    ("steps", "trust", "keep", "gone"),
    [
        ((10, 20, 30), {}, 3, ()),
        ((10, 20, 30, 40), {}, 3, (10,)),
        ((10, 20, 30, 40), {10: "trusted"}, 2, (20,)),
        ((10, 20, 30, 40), {10: "trusted", 20: "trusted"}, 1, (10, 30)),
        ((10, 20, 30, 40), {40: "trusted"}, 1, (10, 20, 30)),
        ((), {}, 1, ()),
    ],
)
def test_retention_never_takes_the_last_trusted_one(
    steps: tuple[int, ...], trust: dict[int, str], keep: int, gone: tuple[int, ...]
) -> None:
    assert to_retire(steps, trust, keep) == gone
