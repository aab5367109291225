"""What a job may say of its data and its loss, so that preflight can check more than samples show.

All of it is optional: the hooks are methods of `runner.task.Task`, and `loss_formula` of a job's
`Config`. What a job does not say
is derived from its samples where that is possible, and otherwise not checked.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

#: An array of stored or trained label values, of any shape.
LabelArray = npt.NDArray[Any]


def _as_stored(stored: LabelArray) -> LabelArray:
    return stored


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The files behind the samples.

    `train` and `validation` are the readable files of each side (preflight looks for equal contents
    on both sides); `unreadable` are those that were found and cannot be decoded, wherever they
    would have belonged.
    """

    train: tuple[Path, ...] = ()
    validation: tuple[Path, ...] = ()
    unreadable: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Labels:
    """What the stored label values mean and what the loss makes of them.

    `as_trained` must be the very function that the samples go through, not a copy of it: preflight
    follows each stored value through it, and checks by gradient that `ignored` values are ignored.
    """

    #: Entry of a sample that holds the labels as the loss gets them.
    key: str
    #: Every stored value and its meaning, such as {0: "background", 1: "surface", 2: "unlabelled"}.
    names: Mapping[int, str]
    #: The stored values that say "nobody labelled this".
    unlabelled: frozenset[int] = frozenset()
    #: Values, after `as_trained`, that the loss leaves out.
    ignored: frozenset[int] = frozenset()
    #: Some stored labels, as they lie on disk; None: not at hand.
    stored: Callable[[], LabelArray] | None = None
    #: From stored labels to those the loss gets.
    as_trained: Callable[[LabelArray], LabelArray] = _as_stored


@dataclass(frozen=True, slots=True)
class LossTerm:
    """One weighted term of a loss, for the configuration review.

    `steepest` is the greatest absolute derivative of the unweighted term by the quantity it is a
    function of (100 for exp(-100 var), 1 for an absolute error); None: it has no bound.
    `is_bounded` says whether the term itself has an upper bound or grows no faster than a square.
    """

    name: str
    weight: float
    steepest: float | None = 1.0
    is_bounded: bool = True
    formula: str = ""
