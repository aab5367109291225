"""Other programs' logs, damaged: judged as far as they go or refused in a sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mangled import Edit, edits, fuzzed, mangle, read_or_refused
from tests.unit import foreign_files
from watchdog.errors import TraceError
from watchdog.importers import IMPORTERS
from watchdog.replay import Replay

LOSSES = foreign_files.losses(40, bad_from=35)
GOOD = {name: make(LOSSES).encode() for name, make in foreign_files.TEXTS.items()}
GOOD["mmengine"] = foreign_files.mmengine(LOSSES).encode()


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("events") / "events.out.tfevents.1"
    foreign_files.tensorboard(path, LOSSES)
    return path.read_bytes()


def judge(path: Path, format_name: str) -> None:
    with read_or_refused(path, TraceError):
        list(Replay(path, format_name, None))


@fuzzed
@given(st.sampled_from(sorted(GOOD)), edits)
def test_a_damaged_log_is_judged_or_refused(tmp_path: Path, name: str, changes: list[Edit]) -> None:
    path = tmp_path / "log"
    path.write_bytes(mangle(GOOD[name], changes))
    judge(path, "auto")
    judge(path, name if name in IMPORTERS else "openmmlab")


@fuzzed
@given(edits)
def test_damaged_event_files_are_judged_or_refused(
    tmp_path: Path, events: bytes, changes: list[Edit]
) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(mangle(events, changes))
    judge(path, "tensorboard")


@fuzzed
@given(st.binary(max_size=60), st.binary(max_size=30))
def test_any_event_with_true_checksums_is_judged_or_refused(
    tmp_path: Path, data: bytes, rest: bytes
) -> None:
    path = tmp_path / "events.out.tfevents.1"
    version = foreign_files.framed(b"\x1a\x0dbrain.Event:2")
    path.write_bytes(version + foreign_files.framed(data) + rest)
    judge(path, "auto")


@fuzzed
@given(st.sampled_from(sorted(GOOD)), edits)
def test_damaged_archives_are_judged_or_refused(
    tmp_path: Path, name: str, changes: list[Edit]
) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(mangle(gzip.compress(GOOD[name], mtime=0), changes))
    judge(path, "auto")


@fuzzed
@given(st.binary(max_size=200), st.sampled_from(sorted(IMPORTERS)))
def test_any_bytes_are_judged_or_refused(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(data)
    judge(path, name)
    judge(path, "auto")


@pytest.mark.parametrize("name", sorted(IMPORTERS))
def test_a_small_archive_of_a_huge_line_is_refused_in_bounded_memory(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * 2**24, mtime=0))
    with pytest.raises(TraceError):
        list(Replay(path, name, None))
