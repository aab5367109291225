"""Checkpoints from a stranger: a state, or word that there is none; code never runs."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save as write_parts

from runner.checkpoints import CheckpointStore, info_of
from runner.files import Written
from runner.sharded_checkpoints import _CheckpointFiles, load_whole
from runner.state import StateInfo
from tests.fuzz.mangled import changed_fields, edits, fuzzed, json_values, mangle
from watchdog.errors import CheckpointError

STEP = 8
FOLDER = f"step_{STEP:08d}"
TREE: dict[str, Any] = {
    "model": {"w": torch.arange(12.0).reshape(3, 4)},
    "optimizer": {"steps": [1, 2]},
}
INFO = StateInfo(**dict.fromkeys(StateInfo.__slots__, 1) | {"step": STEP})


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (str(self._path),))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Return the files of a checkpoint in one piece."""
    store = CheckpointStore(str(tmp_path_factory.mktemp("whole")))
    store.save(TREE, INFO, {"epoch": 0.5})
    return files_of(Path(store.location) / FOLDER)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Return the files of a checkpoint in shards, as one rank writes it."""
    store = CheckpointStore(str(tmp_path_factory.mktemp("shards")))
    name = store.begin(STEP)
    folder = Path(store.location) / name
    writer = FileSystemWriter(name, sync_files=False)
    writer.path = name  # all of this as the product does it
    writer.fs = cast(FileSystem, _CheckpointFiles(store.files, {}))
    with pytest.warns(UserWarning, match="single process"):
        write_parts({"model/w": TREE["model"]["w"]}, storage_writer=writer, no_dist=True)
    marked = {**TREE, "model": {"w": {"__tensor__": "model/w"}}}
    torch.save(marked, folder / "plain.pt")
    written = {path.name: Written("", path.stat().st_size) for path in folder.iterdir()}
    store.commit(INFO, written, {"layout": "sharded"})
    return files_of(Path(store.location) / FOLDER)


def files_of(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def load(root: Path, files: Mapping[str, bytes]) -> Any:
    """Return what a stranger's checkpoint with these files and true checksums is read as."""
    store = CheckpointStore(str(root))
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with contextlib.suppress(ValueError, TypeError, LookupError, RecursionError):
        manifest = json.loads(files["manifest.json"])
        for name in files.keys() - {"manifest.json"}:
            manifest["files"][name] = {"sha256": store.files.checksum(f"{FOLDER}/{name}").sha256}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return load_whole(store, STEP)


def test_the_untouched_ones_are_read(
    tmp_path: Path, whole: Mapping[str, bytes], shards: Mapping[str, bytes]
) -> None:
    for files in (whole, shards):
        tree, info = load(tmp_path, files)
        assert torch.equal(tree["model"]["w"], TREE["model"]["w"])
        assert info == INFO


@fuzzed
@given(st.data())
def test_a_damaged_file_with_a_true_checksum_is_read_or_refused(
    tmp_path: Path, whole: Mapping[str, bytes], shards: Mapping[str, bytes], data: st.DataObject
) -> None:
    files = dict(data.draw(st.sampled_from([whole, shards])))
    name = data.draw(st.sampled_from(sorted(files)))
    files[name] = mangle(files[name], data.draw(edits))
    with contextlib.suppress(CheckpointError):
        load(tmp_path, files)


@fuzzed
@given(st.data())
def test_a_manifest_that_says_anything_is_obeyed_or_refused(
    tmp_path: Path, whole: Mapping[str, bytes], shards: Mapping[str, bytes], data: st.DataObject
) -> None:
    files = dict(data.draw(st.sampled_from([whole, shards])))
    good = json.loads(files["manifest.json"])
    manifest = data.draw(st.one_of(changed_fields(good), json_values))
    files["manifest.json"] = json.dumps(manifest).encode()
    with contextlib.suppress(CheckpointError):
        load(tmp_path, files)
    store = CheckpointStore(str(tmp_path))
    with contextlib.suppress(CheckpointError):
        info_of(store.manifest(STEP))
    store.steps()
    store.set_trust(STEP, "trusted")
    store.sweep()


@pytest.mark.parametrize("name", ["../../secret", "/etc/hostname", "sub/file", "..", ""])
def test_a_manifest_cannot_name_a_file_elsewhere(
    tmp_path: Path, whole: Mapping[str, bytes], name: str
) -> None:
    (tmp_path / "secret").write_text("not yours")
    manifest = json.loads(whole["manifest.json"])
    manifest["files"][name] = {"sha256": "0" * 64}
    with pytest.raises(CheckpointError, match="is no name of a file") as refused:
        load(tmp_path / "checkpoints", {**whole, "manifest.json": json.dumps(manifest).encode()})
    assert "SHA-256" not in str(refused.value)


def test_a_table_of_contents_cannot_name_a_file_elsewhere(
    tmp_path: Path, shards: Mapping[str, bytes]
) -> None:
    [part] = [name for name in shards if name.endswith(".distcp")]
    table = pickle.loads(shards[".metadata"])
    for entry in table.storage_data.values():
        entry.relative_path = f"../{part}"
    (tmp_path / part).write_bytes(shards[part])
    with pytest.raises(CheckpointError, match="table of contents"):
        load(tmp_path, {**shards, ".metadata": pickle.dumps(table)})


@pytest.mark.parametrize("field", ["state_dict_metadata", "storage_data"])
def test_a_table_of_contents_that_lacks_a_field_is_none(
    tmp_path: Path, shards: Mapping[str, bytes], field: str
) -> None:
    table = pickle.loads(shards[".metadata"])
    delattr(table, field)
    with pytest.raises(CheckpointError, match="table of contents"):
        load(tmp_path, {**shards, ".metadata": pickle.dumps(table)})


@pytest.mark.parametrize("name", ["state.pt", "plain.pt", ".metadata", "__0_0.distcp"])
@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_no_file_of_a_checkpoint_can_run_code(
    tmp_path: Path, whole: Mapping[str, bytes], shards: Mapping[str, bytes], name: str, how: str
) -> None:
    files = dict(whole if name in whole else shards)
    assert name in files
    owned, evil = tmp_path / "owned", tmp_path / "evil"
    if how == "pickle":
        evil.write_bytes(pickle.dumps(Evil(owned)))
    else:
        torch.save(Evil(owned), evil)
    files[name] = evil.read_bytes()
    with pytest.raises(CheckpointError):
        load(tmp_path / "checkpoints", files)
    assert not owned.exists()


def test_a_linked_checkpoint_is_no_way_to_delete_what_it_leads_to(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    root = tmp_path / "checkpoints"
    root.mkdir()
    for link in (FOLDER, "step_00000016.partial", "step_00000024.old", "step_00000032"):
        (root / link).symlink_to(precious)
    store = CheckpointStore(str(root))
    store.sweep()
    store.save(TREE, INFO, {})
    assert (precious / "thesis.txt").read_text() == "years of work"
