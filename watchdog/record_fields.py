"""Whether the fields of a record that was read from a file hold what its class says they do.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import Enum
from functools import cache
from typing import Any

#: Beyond 64 bits nothing is a count, a step or an ordinal, and may not fit into a float.
_MAX_INT = 2**63


def check(cls: type[Any], data: Mapping[str, Any]) -> None:
    """Check the values for the fields of a dataclass; names it does not know are not looked at.

    Raises:
        TypeError: a value is not of the type of its field.
    """
    for name, (fits, hint) in _fields(cls).items():  # type: ignore[arg-type]  # a class has a hash
        if name in data and not fits(data[name]):
            raise TypeError(f"{name}={str(data[name])[:80]!r} is not {hint}")


@cache
def _fields(cls: type[Any]) -> Mapping[str, tuple[Callable[[Any], bool], str]]:
    hints = typing.get_type_hints(cls)
    return {f.name: (_fitting(hints[f.name]), str(f.type)) for f in fields(cls)}


def _fitting(hint: Any) -> Callable[[Any], bool]:
    """Return what tells whether a value is of the type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        choices = [_fitting(argument) for argument in arguments if argument is not types.NoneType]
        if len(choices) == 1 and types.NoneType in arguments:  # nearly all, of millions of records
            fits_one = choices[0]
            return lambda value: value is None or fits_one(value)
        choices += [_fitting(types.NoneType)] if types.NoneType in arguments else []
        return lambda value: any(fits(value) for fits in choices)
    if origin is tuple:
        item = _fitting(arguments[0])
        return lambda value: isinstance(value, tuple) and all(map(item, value))
    if origin is not None and issubclass(origin, Mapping):
        key, item = map(_fitting, arguments)
        return lambda value: (
            isinstance(value, Mapping) and all(key(k) and item(v) for k, v in value.items())
        )
    if hint is int:
        return _is_int
    if hint is float:
        return lambda value: isinstance(value, float) or _is_int(value)
    expected: type = hint
    is_known = issubclass(expected, Enum | str | bool | types.NoneType)
    assert is_known, f"no rule for {hint}"
    return lambda value: isinstance(value, expected)


def _is_int(value: Any) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and -_MAX_INT < value < _MAX_INT
