"""The spellings of a number in other people's logs.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
import re

#: Source: Keras' CSVLogger (NA), Flair (_), pandas, R, SQL and spreadsheets.
_MISSING = frozenset({"", "na", "n/a", "<na>", "none", "null", "nil", "-", "--", "_", "?"})
#: Source: C run-time libraries of Windows before 2015, and after.
_WINDOWS = {
    "1.#qnan": math.nan,
    "1.#ind": math.nan,
    "nan(ind)": math.nan,
    "1.#inf": math.inf,
}
_TENSOR = re.compile(r"tensor\(\[?\s*([^\s,()\[\]]+)\]?\s*(?:,.*)?\)")
_WRAPPED = re.compile(r"(?:array|np\.float\d+)?[(\[]+\s*([^\s,()\[\]]+)\s*[)\]]+")


def number(value: object) -> float | None:
    """Return the number a logged value stands for; None where nothing was logged.

    NaN and Infinity in all their spellings are numbers; so are `tensor(2.3)`, `[0.1]` and `85 %`
    (which is 85). An integer too large for a float is infinite.

    Raises:
        ValueError: the value is no number.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _spelled(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def is_logged(value: object) -> bool:
    """Whether there is a value at all, number or not."""
    if isinstance(value, str):
        return value.strip().lower() not in _MISSING
    return value is not None


def _spelled(value: str) -> float | None:
    text = value.strip().strip("'\"").strip().lower()
    if text in _MISSING:
        return None
    wrapped = _TENSOR.fullmatch(text) or _WRAPPED.fullmatch(text)
    if wrapped is not None:
        text = wrapped[1]
    bare = text.rstrip("%").rstrip()
    known = _WINDOWS.get(bare.lstrip("+-"))
    if known is not None:
        return -known if bare.startswith("-") else known
    return float(bare)
