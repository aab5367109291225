"""What a command on a cluster's head says, as lines that survive the log of a Ray job.

The log of a job is the only way back from a cluster that everybody has, and others write into it
too. Each line of ours begins with a mark and is one JSON object: a piece of standard output, a
piece of standard error, or the exit code, which is last.

Runs in: driver (both ends).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

_MARK = "@watchkeeper "
#: Chosen: a job's log travels in pieces of some 20 000 characters; a line need not be longer.
_PIECE = 16_000


class Kind(StrEnum):
    """What a frame carries."""

    OUT = "out"
    ERR = "err"
    EXIT = "exit"


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece of what a command said; the text of an exit is its code."""

    kind: Kind
    text: str


def encode(frame: Frame) -> str:
    """Return the frame as one line."""
    return f"{_MARK}{json.dumps({frame.kind.value: frame.text})}\n"


class Framed(io.TextIOBase):
    """A text file, to stand in for standard output or error, that writes frames of one kind."""

    def __init__(self, kind: Kind, log: TextIO) -> None:
        self._kind = kind
        self._log = log

    def write(self, text: str) -> int:
        """Write the text at once, so that whoever waits for it sees it."""
        for start in range(0, len(text), _PIECE):
            self._log.write(encode(Frame(self._kind, text[start : start + _PIECE])))
        self._log.flush()
        return len(text)

    def flush(self) -> None:
        """Do nothing: all is written."""


class Decoder:
    """Finds the frames in a log that comes in pieces; what is not ours is passed over."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> Iterator[Frame]:
        """Yield the frames that are complete by now."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.startswith(_MARK):
                yield from _frames(line[len(_MARK) :])


def _frames(line: str) -> Iterator[Frame]:
    try:
        found = json.loads(line)
    except ValueError:
        return  # cut off where a log was
    if isinstance(found, dict):
        for name, text in found.items():
            if name in set(Kind) and isinstance(text, str):
                yield Frame(Kind(name), text)
