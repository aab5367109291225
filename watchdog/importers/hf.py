"""Hugging Face Transformers' `trainer_state.json`: the entries of `log_history`.

An entry with `loss` is one of training (its mean since the entry before), one with `eval_...` a
validation; the last one with `train_runtime` sums the run up and is left out. By default the
Trainer leaves steps that are not finite out of `loss` (`logging_nan_inf_filter`), so that a run of
NaN is logged as loss 0.0: there the gradient norm tells.

Source: huggingface/transformers, src/transformers/trainer_callback.py, TrainerState.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from watchdog.errors import TraceError
from watchdog.foreign_logs.entry import Entry, malformed
from watchdog.foreign_logs.fit import Fit
from watchdog.foreign_logs.log import ForeignLog
from watchdog.log_files import decoded, opened

IS_FOREIGN = True

_HISTORY = "log_history"


class TrainerState:
    """The entries of one file; it is one document, so it is never half-read."""

    is_torn = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries in order.

        Raises:
            TraceError: the file cannot be read, or is no state of a Trainer.
        """
        for number, values in enumerate(_history(self._path), start=1):
            entry = Entry(number, values, "entry")
            if not isinstance(values, dict):
                raise malformed(self._path, entry, f"is {type(values).__name__}, not an object")
            if "train_runtime" not in values:
                yield entry


def recognises(head: bytes) -> Fit:
    """Whether the file is a document with a history."""
    text = decoded(head)
    is_state = text.lstrip()[:1] == "{" and f'"{_HISTORY}"' in text
    return Fit.EXACT if is_state else Fit.NO


def read(path: Path) -> ForeignLog:
    """Return the records of the history."""
    return ForeignLog(path, TrainerState(path))


def _history(path: Path) -> list[Any]:
    with opened(path) as file:
        data = file.read()
    try:
        document = json.loads(data)
    except json.JSONDecodeError as error:
        what = f"line {error.lineno} of {path} is not JSON ({error.msg}, column {error.colno})"
    except (ValueError, RecursionError) as error:
        what = f"{path} is not JSON ({error})"
    else:
        history = document.get(_HISTORY) if isinstance(document, dict) else None
        if isinstance(history, list):
            return history
        what = f"{path} has no list called {_HISTORY}"
    raise TraceError(
        f"{what}; likely cut off, or no trainer_state.json; name the right format with --format"
    )
