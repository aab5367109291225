"""Scalars in TensorBoard event files, read without TensorBoard or protobuf.

An event file is a sequence of TFRecords, each an `Event` message. Only the fields a scalar is made
of are read; images, histograms and graphs are passed over.

Source: tensorflow/tensorflow, core/lib/io/record_writer.h (framing), core/util/event.proto,
core/framework/summary.proto and tensor.proto (field numbers).

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from watchdog.errors import TraceError
from watchdog.foreign_logs.entry import Entry
from watchdog.foreign_logs.wire import Value, fields
from watchdog.log_files import opened

#: Chosen: larger than the graph of any model tried; a damaged length is told from its checksum.
_MAX_EVENT_BYTES = 2**30
#: Chosen: an event of scalars is smaller; checking larger ones costs time and tells nothing.
_MAX_CHECKED_BYTES = 2**16
_CASTAGNOLI = 0x82F63B78
_FLOAT_TYPE, _DOUBLE_TYPE = 1, 2


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_CASTAGNOLI if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    """Return the checksum of a TFRecord: CRC-32C, rotated and offset."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class EventFile:
    """The scalars of one file, those of neighbouring events of one step in one entry."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_torn = False

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries in order; a half-written last event is left out and noted.

        Raises:
            TraceError: the file cannot be read, or an event is damaged.
        """
        values: dict[str, float] = {}
        newest_step, first = 0, 0
        with opened(self._path) as file:
            for number, data in enumerate(self._events(file), start=1):
                step, scalars = self._scalars(number, data)
                if values and (step != newest_step or values.keys() & scalars.keys()):
                    yield Entry(first, {"global_step": newest_step, **values}, "event")
                    values = {}
                if scalars:
                    first = first if values else number
                    newest_step = step
                    values.update(scalars)
        if values:
            yield Entry(first, {"global_step": newest_step, **values}, "event")

    def _events(self, file: BinaryIO) -> Iterator[bytes]:
        number = 0
        while prefix := file.read(12):
            number += 1
            if len(prefix) < 12:
                self.is_torn = True
                return
            (length, checksum) = struct.unpack("<QI", prefix)
            if masked_crc(prefix[:8]) != checksum or length > _MAX_EVENT_BYTES:
                raise self._damaged(number, "starts with a length that fails its checksum")
            data = file.read(length)
            footer = file.read(4)
            if len(data) < length or len(footer) < 4:
                self.is_torn = True
                return
            is_checked = length <= _MAX_CHECKED_BYTES
            if is_checked and masked_crc(data) != struct.unpack("<I", footer)[0]:
                raise self._damaged(number, "fails its checksum")
            yield data

    def _scalars(self, number: int, data: bytes) -> tuple[int, dict[str, float]]:
        step, scalars = 0, {}
        try:
            for field, value in fields(data):
                if field == 2 and isinstance(value, int):
                    step = value - 2**64 if value >= 2**63 else value
                elif field == 5 and isinstance(value, bytes):
                    scalars.update(_summary(value))
        except ValueError as error:
            raise self._damaged(number, f"is no message ({error})") from error
        return step, scalars

    def _damaged(self, number: int, what: str) -> TraceError:
        return TraceError(
            f"event {number} of {self._path} {what}; likely a damaged or foreign file; name the "
            "right format with --format"
        )


def _summary(data: bytes) -> dict[str, float]:
    """Return the scalars of a Summary by tag."""
    scalars = {}
    for field, value in fields(data):
        if field == 1 and isinstance(value, bytes):
            parts = dict(fields(value))
            scalar = _scalar(parts)
            tag = parts.get(1)
            if scalar is not None and isinstance(tag, bytes):
                scalars[tag.decode("utf-8", errors="replace")] = scalar
    return scalars


def _scalar(parts: dict[int, Value]) -> float | None:
    """Return the scalar of a Summary.Value: `simple_value`, or a tensor of one number."""
    simple, tensor = parts.get(2), parts.get(8)
    if isinstance(simple, bytes) and len(simple) == 4:
        return float(struct.unpack("<f", simple)[0])
    return _tensor(dict(fields(tensor))) if isinstance(tensor, bytes) else None


def _tensor(parts: dict[int, Value]) -> float | None:
    """Return the number of a TensorProto of one float or double; None for any other."""
    kind = parts.get(1)
    if kind == _FLOAT_TYPE:
        data, form = parts.get(5, parts.get(4)), "<f"
    elif kind == _DOUBLE_TYPE:
        data, form = parts.get(6, parts.get(4)), "<d"
    else:
        return None
    if not isinstance(data, bytes) or len(data) != struct.calcsize(form):
        return None
    return float(struct.unpack(form, data)[0])
