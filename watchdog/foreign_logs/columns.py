"""Chooses which names of a foreign log are its step, loss, rate and so on, and reads rows by them.

The first entries decide, because a log may hold several losses: of the names that serve a field,
those logged often enough count, and of these the best. What is logged for the first time later
(validations, mostly) is chosen when it comes. A choice is never taken back, so that a curve is one
curve. Where only the terms of a loss are logged, their sum is judged.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from watchdog.foreign import Row
from watchdog.foreign_logs.entry import Entry, malformed
from watchdog.foreign_logs.names import Field, meaning
from watchdog.foreign_logs.numbers import is_logged, number
from watchdog.foreign_logs.positions import Unroller

#: Chosen: enough for several validations of most logs, little enough to hold.
_HEAD_ENTRIES = 256
#: Chosen: beyond this a step cannot be told from its neighbours as a float.
_MAX_STEP = 2**53
_PARTS = {Field.LOSS: Field.LOSS_PART, Field.VAL_LOSS: Field.VAL_LOSS_PART}


def rows_of(path: Path, entries: Iterable[Entry]) -> Iterator[Row]:
    """Yield a row for each entry of the log at `path`.

    Raises:
        TraceError: a field that was chosen holds something that is no number.
    """
    iterator = iter(entries)
    head = list(itertools.islice(iterator, _HEAD_ENTRIES))
    columns = Columns(path, head)
    for entry in itertools.chain(head, iterator):
        yield columns.row(entry)


class Columns:
    """The names chosen for each field, with the factor that makes a metric higher-is-better."""

    def __init__(self, path: Path, head: Sequence[Entry]) -> None:
        self._path = path
        self._chosen: dict[Field, tuple[str, ...]] = {}
        self._seen: set[str] = set()
        self._unroller = Unroller()
        self._choose(head)
        if self._is_step_idle(head):
            self._chosen[Field.STEP] = ()
        self._is_epoch_step = self._is_one_entry_an_epoch(head)

    def row(self, entry: Entry) -> Row:
        """Return what the entry says.

        Raises:
            TraceError: a value is no number, or the step is none that can be.
        """
        unseen = entry.values.keys() - self._seen
        if unseen and any(is_logged(entry.values[name]) for name in unseen):
            self._choose([entry])
        epoch = self._value(entry, Field.EPOCH)
        values = {
            "loss": self._value(entry, Field.LOSS),
            "val_loss": self._value(entry, Field.VAL_LOSS),
            "lr": self._value(entry, Field.LR),
            "grad_norm": self._value(entry, Field.GRAD_NORM),
            "val_metric": self._value(entry, Field.VAL_METRIC),
        }
        is_training = values["loss"] is not None or values["grad_norm"] is not None
        step = self._step(entry, epoch, is_training=is_training)
        return Row(step=step, epoch=epoch, **values)

    def _choose(self, entries: Sequence[Entry]) -> None:
        """Choose names for the fields that have none yet."""
        counts = Counter[str]()
        for entry in entries:
            counts.update(name for name, value in entry.values.items() if is_logged(value))
        self._seen.update(counts)
        by_field: dict[Field, list[tuple[int, str]]] = {}
        for name in counts:
            known = meaning(name)
            if known is not None:
                by_field.setdefault(known.field, []).append((known.rank, name))
        for field, found in by_field.items():
            if field not in self._chosen and field not in _PARTS.values():
                often = _often(found, counts)
                self._chosen[field] = (min(often, key=lambda pair: pair[0])[1],)
        for whole, part in _PARTS.items():
            if whole not in self._chosen and part in by_field:
                often = _often(by_field[part], counts)
                least = min(rank for rank, _ in often)  # a mean over an epoch is no further term
                self._chosen[whole] = tuple(name for rank, name in often if rank - least < 10)

    def _value(self, entry: Entry, field: Field) -> float | None:
        """Return the value of a field; of several names the sum, if all are there."""
        total = None
        for name in self._chosen.get(field, ()):
            value = self._number(entry, name)
            if value is None:
                return None
            total = value if total is None else total + value
        if total is not None and field is Field.VAL_METRIC:
            known = meaning(self._chosen[field][0])
            return total * (known.sign if known is not None else 1.0)
        return total

    def _number(self, entry: Entry, name: str) -> float | None:
        value = entry.values.get(name)
        try:
            return number(value)
        except ValueError:
            what = f"has {name}={_short(value)}, which is no number"
        raise malformed(self._path, entry, what)

    def _step(self, entry: Entry, epoch: float | None, *, is_training: bool) -> int | None:
        value = self._value(entry, Field.STEP)
        if value is None and self._is_epoch_step and epoch is not None and math.isfinite(epoch):
            value, epoch = epoch, None
        if value is None:
            return None
        if math.isnan(value) or abs(value) > _MAX_STEP:
            raise malformed(self._path, entry, f"has the step {value}")
        if not is_training:
            return int(value)
        length = self._value(entry, Field.EPOCH_STEPS)
        is_length = length is not None and 0 < length <= _MAX_STEP
        return self._unroller.place(
            int(value), epoch, int(length) if length is not None and is_length else None
        )

    def _is_step_idle(self, head: Sequence[Entry]) -> bool:
        """Whether the step tells less than the epoch.

        It is the same in every epoch (`938/938` at the end of each), or only logged now and then.
        """
        trained = [entry for entry in head if self._value(entry, Field.LOSS) is not None] or head
        steps = [self._value(entry, Field.STEP) for entry in trained]
        epochs = [self._value(entry, Field.EPOCH) for entry in trained]
        logged = [step for step in steps if step is not None]
        is_rare = 2 * len(logged) < len(epochs) - epochs.count(None)
        is_still = len(logged) == len(steps) and len(set(logged)) == 1 and len(set(epochs)) > 1
        return is_rare or is_still

    def _is_one_entry_an_epoch(self, head: Sequence[Entry]) -> bool:
        """Whether a log without steps can be counted in epochs."""
        if self._chosen.get(Field.STEP):
            return False
        trained = [
            self._value(e, Field.EPOCH) for e in head if self._value(e, Field.LOSS) is not None
        ]
        checked = [self._value(e, Field.EPOCH) for e in head]
        epochs = trained or checked
        is_whole = all(epoch is not None and epoch.is_integer() for epoch in epochs)
        return is_whole and all(a != b for a, b in itertools.pairwise(epochs))


def _often(found: Sequence[tuple[int, str]], counts: Counter[str]) -> list[tuple[int, str]]:
    """Return the names logged at least half as often as the one logged most often."""
    most = max(counts[name] for _, name in found)
    return [(rank, name) for rank, name in found if 2 * counts[name] >= most]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
