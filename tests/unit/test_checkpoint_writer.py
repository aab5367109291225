"""What the writer does behind the training's back, with storage that refuses."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.channel import ChannelDown
from runner.checkpoint_writer import CheckpointWriter, SaveHooks
from runner.checkpoints import CheckpointStore
from runner.memory_checkpoints import MemoryCheckpoint
from runner.state import StateInfo
from tests.e2e.gloo_pair import ScriptedChannel
from watchdog.held_copies import HeldCopies
from watchdog.records import CheckpointFailed, CheckpointSaved, Record


class KeepingChannel(ScriptedChannel):
    """Keeps copies as a watchdog does, and can lose them as one that was restarted has."""

    def __init__(self, trusted: Sequence[int] = ()) -> None:
        super().__init__(None)
        self.copies = HeldCopies()
        self.trusted = trusted

    def trust(self) -> Mapping[int, str]:
        if self.is_down:
            raise ChannelDown("scripted")
        return dict.fromkeys(self.trusted, "trusted")

    def hold(self, step: int, payload: Mapping[str, Any]) -> Sequence[int]:
        if self.is_down:
            raise ChannelDown("scripted")
        return self.copies.keep(step, payload)

    def drop_held_after(self, step: int) -> None:
        self.copies.drop_after(step)


def checkpoint(step: int) -> MemoryCheckpoint:
    info = StateInfo(step=step, generation=0, position=step, world_size=1, seed=0)
    return MemoryCheckpoint(info, {"model": {"w": torch.full((600,), 1.0)}}, torch.tensor(True))


class Rig:
    """A writer over a folder, with the room on the disk in our hands."""

    def __init__(self, folder: Path, channel: KeepingChannel | None = None) -> None:
        self.room: int | None = None
        self.records: list[Record] = []
        self.channel = channel or KeepingChannel()
        self.store = CheckpointStore(str(folder))
        self.writer = CheckpointWriter(
            self.store,
            self.store,
            self.channel,
            self.records.append,
            attempt=0,
            keep=3,
            hooks=SaveHooks(lambda step: self.room, lambda step, path: None),
        )

    def save(self, step: int) -> None:
        self.writer.save(checkpoint(step), {})
        self.writer.drain()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "checkpoints")


@pytest.mark.parametrize("room", [0, 1024, 3000])
def test_a_full_disk_leaves_the_last_good_one_and_nothing_else(
    rig: Rig, tmp_path: Path, room: int
) -> None:
    rig.save(8)
    before = {p: p.read_bytes() for p in (tmp_path / "checkpoints").rglob("*") if p.is_file()}
    rig.room = room
    rig.save(8)
    rig.save(16)
    after = {p: p.read_bytes() for p in (tmp_path / "checkpoints").rglob("*") if p.is_file()}
    assert after == before
    assert rig.store.steps() == (8,)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    failed = [r for r in rig.records if isinstance(r, CheckpointFailed)]
    assert [(r.step, r.operation) for r in failed] == [(8, "save"), (16, "save")]
    assert "No space left" in failed[0].error


def test_a_full_disk_is_said_once_and_its_end_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.room = 0
    for step in (8, 16, 24):
        rig.save(step)
    rig.room = None
    rig.save(32)
    rig.save(40)
    said = [r.message for r in caplog.records if r.levelname in ("ERROR", "WARNING")]
    assert len(said) == 2
    assert "training goes on" in said[0]
    assert said[1] == "storage takes checkpoints again, after 3 it refused"
    assert [r.step for r in rig.records if isinstance(r, CheckpointSaved)] == [32, 40]


def test_a_full_disk_loses_what_need_not_be_kept(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "c", KeepingChannel(trusted=[8]))
    for step in (8, 16, 24):
        rig.save(step)
    rig.room = 0
    rig.save(32)
    assert rig.store.steps() == (8, 24), "the trusted one and the newest stay"
    rig.room = None
    rig.save(40)
    assert rig.store.steps() == (8, 24, 40)


def test_nothing_is_removed_while_the_watchdog_does_not_answer(rig: Rig) -> None:
    rig.channel.is_down = True
    for step in (8, 16, 24, 32, 40):
        rig.save(step)
    assert rig.store.steps() == (8, 16, 24, 32, 40)


def test_a_watchdog_that_lost_its_copies_is_found_out(rig: Rig) -> None:
    for step in (8, 16):
        rig.writer.hold([checkpoint(step)], 6)
        rig.writer.drain()
    assert rig.writer.lost((8, 16), 6) == ()
    rig.channel.copies = HeldCopies()
    rig.writer.hold([checkpoint(24)], 6)
    rig.writer.drain()
    assert rig.writer.lost((8, 16, 24), 6) == (8, 16)
    assert rig.writer.lost((8, 16, 24), 2) == (16,), "it has no room for more"
    rig.writer.hold([checkpoint(8), checkpoint(16), checkpoint(32)], 6)
    rig.writer.drain()
    assert rig.channel.copies.steps() == (8, 16, 24, 32)


def test_superseded_copies_are_dropped(rig: Rig) -> None:
    rig.writer.hold([checkpoint(8), checkpoint(16)], 6)
    rig.writer.forget_after(8)
    rig.writer.drain()
    assert rig.channel.copies.steps() == (8,)


def test_slow_storage_holds_no_copy_up(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "c")
    is_held = threading.Event()
    rig.writer._hooks = SaveHooks(lambda step: is_held.wait(30) and None, lambda step, path: None)
    rig.writer.save(checkpoint(8), {})
    rig.writer.hold([checkpoint(8)], 6)
    rig.writer._copies.drain()
    assert rig.channel.copies.steps() == (8,)
    assert rig.writer.is_saving
    is_held.set()
    rig.writer.drain()
    assert rig.store.steps() == (8,)
