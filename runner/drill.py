"""Faults on purpose: `DRILL="nan@step=40,rank=1,count=5;kill@step=80"`.

A fault is data; an episode of it starts when its step begins and lasts `count` steps or until a
recovery. `times` says how many episodes there may be in the whole run: episodes are claimed from
the watchdog before they start, so that one fires once even when it kills the process that fired it.

Runs in: worker (parsing: anywhere).
"""

from __future__ import annotations

import difflib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from watchdog.errors import SpecError

_FOREVER = 10**9

#: Fault -> (default count, default factor). The defaults are the mildest that show the fault.
FAULTS: Mapping[str, tuple[int, float]] = {
    "nan": (1, 1.0),
    "spike": (1, 10.0),
    "lr": (_FOREVER, 10.0),
    "exception": (1, 1.0),
    "kill": (1, 1.0),
}


class DrillError(RuntimeError):
    """The exception that the `exception` drill raises in a worker."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; `rank` None is every rank, except for `kill` and `exception`: then rank 0."""

    name: str
    step: int
    rank: int | None = None
    count: int = 1
    factor: float = 1.0
    times: int = 1

    def hits(self, rank: int) -> bool:
        """Whether the fault strikes `rank`."""
        if self.rank is None and self.name in ("kill", "exception"):
            return rank == 0
        return self.rank in (None, rank)


def parse_drill(text: str | None) -> tuple[Fault, ...]:
    """Return the faults of a drill string; none for None or an empty one.

    Raises:
        SpecError: unknown fault or key, bad value, or no step.
    """
    faults = [_parse_fault(part.strip()) for part in (text or "").split(";") if part.strip()]
    return tuple(faults)


def _parse_fault(part: str) -> Fault:
    name, _, rest = part.partition("@")
    name = name.strip()
    if name not in FAULTS:
        raise SpecError(f"drill '{part}': unknown fault '{name}'{_nearest(name, FAULTS)}")
    count, factor = FAULTS[name]
    values: dict[str, Any] = {"count": count, "factor": factor}
    for item in filter(None, (i.strip() for i in rest.split(","))):
        key, equals, value = (s.strip() for s in item.partition("="))
        if key not in _KEYS:
            raise SpecError(f"drill '{part}': unknown key '{key}'{_nearest(key, _KEYS)}")
        if not equals or not value:
            raise SpecError(f"drill '{part}': '{key}' has no value; write {key}=...")
        values[key] = _KEYS[key](part, key, value)
    if "step" not in values:
        raise SpecError(f"drill '{part}': no step; write {name}@step=40")
    return Fault(name=name, **values)


def _whole(least: int) -> Callable[[str, str, str], int]:
    def parse(part: str, key: str, value: str) -> int:
        if not value.isdecimal() or int(value) < least:
            raise SpecError(f"drill '{part}': {key}={value} must be a whole number from {least}")
        return int(value)

    return parse


def _number(part: str, key: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise SpecError(f"drill '{part}': {key}={value} is not a number") from None


_KEYS: Mapping[str, Callable[[str, str, str], Any]] = {
    "step": _whole(1),
    "rank": _whole(0),
    "count": _whole(1),
    "factor": _number,
    "times": _whole(1),
}


def _nearest(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{hint} (known: {', '.join(sorted(known))})"


class _PoisonGradient(torch.autograd.Function):
    """Identity forward; the gradient becomes NaN on its way back."""

    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor) -> torch.Tensor:
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0] * float("nan")


class DrillRunner:
    """Carries the faults out on one rank. `claim(key)` returns how often `key` was claimed before.

    It must be told of each step (`begin_step`) and of each recovery (`reset`).
    """

    def __init__(self, faults: Sequence[Fault], rank: int, claim: Callable[[str], int]) -> None:
        self._faults = [
            (f"{number}:{fault.name}/rank{rank}", fault)
            for number, fault in enumerate(faults)
            if fault.hits(rank)
        ]
        self._rank = rank
        self._claim = claim
        self._until: dict[str, int] = {}
        self._step = 0

    def begin_step(self, step: int) -> None:
        """Start the episodes that are due; a `kill` or an `exception` strikes here.

        Raises:
            DrillError: an `exception` fault is due.
        """
        self._step = step
        for key, fault in self._faults:
            if step == fault.step and key not in self._until and self._claim(key) < fault.times:
                self._until[key] = step + fault.count - 1
                self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        if fault.name == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.name == "exception":
            raise DrillError(f"drill: exception on rank {self._rank} at step {self._step}")

    def _active(self, name: str) -> list[Fault]:
        return [
            fault
            for key, fault in self._faults
            if fault.name == name and fault.step <= self._step <= self._until.get(key, -1)
        ]

    def distort_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss as the active faults leave it, for the backward pass."""
        loss = self.distort_report(loss)
        if self._active("nan"):
            loss = _PoisonGradient.apply(loss)  # type: ignore[no-untyped-call]
        return loss

    def distort_report(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss as it is reported under the active faults."""
        for fault in self._active("spike"):
            loss = loss * fault.factor
        return loss

    def lr_factor(self) -> float:
        """Return the product of the active `lr` faults."""
        factor = 1.0
        for fault in self._active("lr"):
            factor *= fault.factor
        return factor

    def reset(self) -> None:
        """End every episode: a recovery heals what the drill broke."""
        self._until.clear()
