"""A copy of a run's files elsewhere, kept up to date by lines of text: one end sends, one takes in.

The small files of a run (ledger, trace, logs, result) are all that the reading commands need, so a
run on a cluster is read from its copy by the very same code. Files that grow are sent from where
the copy ends; what is replaced as a whole is sent anew when it changed. Checkpoints stay.

The copy's lock is held as long as the run has a driver, so that whoever asks the copy is told so.

Runs in: driver (the sending end on a cluster's head).
"""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from runner.driver_lock import is_driven, take_lock
from runner.runs import RunFolder
from watchdog.errors import BadInput

#: Chosen: shrinks to a line of some kilobytes, and a slow line shows news every second.
_PIECE_BYTES = 48 * 1024
#: Chosen: the newest part of a trace longer than this (100 000 steps of 2 ranks and more) is sent.
_MOST_BYTES = 64 * 2**20
_TRACE = "trace.jsonl"
_LOGS = ("ledger.jsonl", "driver.log", "crash.log")
_MORE_LOGS = ("logs/*.log", "stacks/*")
_WHOLE = ("job.yaml", "environment.json", "result.json")
#: What may be written into a copy, whatever the other end says.
_NAME = re.compile(r"(?:(?:logs|stacks)/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,150}")
_LOCK = "driver.lock"


class Part(StrEnum):
    """What of a run is copied."""

    ALL = "all"
    #: All but the trace, which is by far the longest file.
    LOGS = "logs"
    REPORT = "report"


class Sender:
    """Says as lines what changed in a run's files since it was asked last."""

    def __init__(self, run: RunFolder, have: Mapping[str, int], part: Part = Part.ALL) -> None:
        self._run = run
        self._part = part
        self._sent = dict(have)
        self._whole = ("report.html",) if part is Part.REPORT else _WHOLE
        self._stamps: dict[str, tuple[int, int]] = {}
        self._was_driven: bool | None = None

    def lines(self) -> Iterator[str]:
        """Yield the news; the last says whether the run has a driver, if that is news."""
        # Asked before reading, so that what a driver wrote last is read after it has gone.
        driven = is_driven(self._run)
        for name in self._growing():
            yield from self._additions(name)
        for name in self._whole:
            yield from self._replacement(name)
        if driven != self._was_driven:
            self._was_driven = driven
            holder = _text(self._run.lock)
            yield json.dumps({"driven": driven, "holder": holder})

    @property
    def has_driver(self) -> bool:
        """Whether a driver held the run when the last lines were made."""
        return bool(self._was_driven)

    def _growing(self) -> Iterator[str]:
        if self._part is Part.REPORT:
            return
        yield from (_TRACE, *_LOGS) if self._part is Part.ALL else _LOGS
        for pattern in _MORE_LOGS:
            for path in sorted(self._run.path.glob(pattern)):
                yield path.relative_to(self._run.path).as_posix()

    def _additions(self, name: str) -> Iterator[str]:
        try:
            with (self._run.path / name).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                at = self._sent.get(name, max(0, size - _MOST_BYTES))
                if at > size:
                    at = 0  # another file of that name
                file.seek(at)
                while piece := file.read(_PIECE_BYTES):
                    yield _piece(name, at, piece)
                    at += len(piece)
                self._sent[name] = at
        except OSError:
            return

    def _replacement(self, name: str) -> Iterator[str]:
        path = self._run.path / name
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if self._stamps.get(name) == stamp:
                return
            content = path.read_bytes()
        except OSError:
            return
        self._stamps[name] = stamp
        for at in range(0, len(content), _PIECE_BYTES):
            piece = content[at : at + _PIECE_BYTES]
            is_last = at + len(piece) == len(content)
            yield _piece(name, at, piece, is_part=True, is_last=is_last)


def _piece(
    name: str, at: int, content: bytes, *, is_part: bool = False, is_last: bool = False
) -> str:
    data = base64.b64encode(zlib.compress(content)).decode()
    value: dict[str, Any] = {"file": name, "at": at, "data": data}
    if is_part:
        value["last"] = is_last
    return json.dumps(value)


@dataclass(slots=True)
class RunCopy:
    """The taking end: writes what `Sender` says into a folder of its own."""

    run: RunFolder
    #: Where in the run's own file the next piece begins, by name.
    have: dict[str, int] = field(default_factory=dict)
    #: Whether a driver that is gone will be followed by another, so that the copy stays driven.
    is_kept: Callable[[], bool] = lambda: False
    _lock: int | None = None

    @property
    def is_driven(self) -> bool:
        """Whether the run had a driver when the copy heard last."""
        return self._lock is not None

    def take(self, line: str) -> None:
        """Take one line in.

        Raises:
            BadInput: it is no line of a `Sender`, or names a file that a run does not have.
        """
        value = _object(line)
        if "driven" in value:
            is_driven = value["driven"] is True or self.is_kept()
            self._hold(is_driven, str(value.get("holder", "")))
            return
        name, at, content = _content(value)
        path = self.run.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if "last" in value:
            self._take_part(path, at, content, is_last=bool(value["last"]))
            return
        is_next = self.have.get(name) == at
        with path.open("ab" if is_next else "wb") as file:
            file.write(content)
        self.have[name] = at + len(content)

    def close(self) -> None:
        """Let go of the copy: nobody drives it any more as far as is known."""
        self._hold(False, "")

    def _take_part(self, path: Path, at: int, content: bytes, *, is_last: bool) -> None:
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb" if at == 0 else "ab") as file:
            file.write(content)
        if is_last:
            partial.replace(path)

    def _hold(self, is_driven: bool, holder: str) -> None:
        if is_driven and self._lock is None:
            self.run.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.run.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if not take_lock(handle):
                os.close(handle)
                return
            self._lock = handle
            os.ftruncate(handle, 0)
            os.pwrite(handle, holder[:1000].encode(), 0)
        elif not is_driven and self._lock is not None:
            os.close(self._lock)
            self._lock = None


def send(
    run: RunFolder,
    have: Mapping[str, int],
    write: Callable[[str], object],
    *,
    part: Part = Part.ALL,
    looks: int = 1,
    pause: Callable[[], None] = lambda: None,
) -> None:
    """Write a run's files as lines, and what is added to them until its driver ends.

    An empty line says that a look found nothing, so that whoever reads can tell and leave.

    Args:
        run: the run.
        have: where each growing file of the copy ends.
        write: takes the text.
        part: what of the run is wanted.
        looks: how often to look for news, at most.
        pause: called between two looks.
    """
    sender = Sender(run, have, part)
    for look in range(looks):
        if look:
            pause()
        lines = list(sender.lines()) if look else sender.lines()
        for line in lines or [""]:
            write(f"{line}\n")
        if not sender.has_driver:
            return


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadInput(f"the cluster sent what is no part of a run: {line[:80]!r}")
    return value


def _content(value: Mapping[str, Any]) -> tuple[str, int, bytes]:
    name, at, data = value.get("file"), value.get("at"), value.get("data")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith(_LOCK):
        raise BadInput(f"the cluster sent a file {name!r}, which a run does not have")
    if not isinstance(at, int) or not isinstance(data, str):
        raise BadInput(f"the cluster sent a piece of {name} without its place or content")
    unzip = zlib.decompressobj()
    try:
        content = unzip.decompress(base64.b64decode(data, validate=True), _PIECE_BYTES)
    except (ValueError, zlib.error) as error:
        raise BadInput(f"the cluster sent a damaged piece of {name}: {error}") from error
    if unzip.unconsumed_tail:
        raise BadInput(f"the cluster sent a piece of {name} of over {_PIECE_BYTES} bytes")
    return name, at, content


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
