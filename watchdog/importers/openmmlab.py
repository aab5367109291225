"""OpenMMLab: `*.log.json` of mmcv, and `vis_data/*.json` of MMEngine, JSON lines both.

mmcv says `mode`, `epoch` and `iter` within the epoch; the numbers of a `val` line are metrics, its
`iter` the length of the validation. MMEngine says `step`, which is that of the run on a line with a
loss, and the epoch on one of validation. Validations are put where the training was.

Source: open-mmlab/mmcv 1.x, mmcv/runner/hooks/logger/text.py; open-mmlab/mmengine,
mmengine/hooks/logger_hook.py.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from watchdog.foreign_logs.entry import Entry
from watchdog.foreign_logs.fit import Fit
from watchdog.foreign_logs.json_entries import JsonEntries, first_objects
from watchdog.foreign_logs.log import ForeignLog
from watchdog.foreign_logs.names import Field, meaning

IS_FOREIGN = True

_PLACES = frozenset({"mode", "step", "iter", "epoch", "lr", "base_lr"})
_CLOCKS = frozenset({"time", "data_time", "memory"})


class ModeLines:
    """The lines of one file, those of validation marked as such."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonEntries(path)

    @property
    def is_torn(self) -> bool:
        """Whether the last line was half-written and left out."""
        return self._lines.is_torn

    def __iter__(self) -> Iterator[Entry]:
        """Yield the lines about the run; the first of mmcv describes the machine.

        Raises:
            TraceError: the file cannot be read, or a line is no object.
        """
        for entry in self._lines:
            if _is_validation(entry.values):
                yield Entry(entry.number, _marked(entry.values))
            elif _is_of_run(entry.values):
                yield Entry(entry.number, {n: v for n, v in entry.values.items() if n != "mode"})


def recognises(head: bytes) -> Fit:
    """Whether one of the first lines has a mode, or the clocks of MMEngine."""
    is_ours = any(_is_of_run(found) for found in first_objects(head))
    return Fit.EXACT if is_ours else Fit.NO


def read(path: Path) -> ForeignLog:
    """Return the records of the file, read while they are iterated over."""
    return ForeignLog(path, ModeLines(path))


def _is_of_run(values: Mapping[str, Any]) -> bool:
    if values.get("mode") in ("train", "val", "test"):
        return "iter" in values or "epoch" in values
    return "step" in values and len(_CLOCKS & values.keys()) >= 2


def _is_validation(values: Mapping[str, Any]) -> bool:
    if "mode" in values:
        return values["mode"] in ("val", "test")
    return _is_of_run(values) and not any(_is_loss(name) for name in values)


def _is_loss(name: str) -> bool:
    known = meaning(name)
    return known is not None and known.field in (Field.LOSS, Field.LOSS_PART, Field.VAL_LOSS)


def _marked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics with names that say whose they are, without a place of their own."""
    return {f"val/{n}": v for n, v in values.items() if n not in _PLACES | _CLOCKS}
