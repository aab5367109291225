"""Pydantic's findings as sentences a person can act on.

Each says where the setting was written, its dotted name, what is wrong with which value, and the
nearest name that exists.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from runner.overrides import Layer, origin_of

_SHOWN_CHARS = 60

#: What was wanted, by pydantic's type of error; the braces are filled from the error's context.
_WANTED: Mapping[str, str] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a section (name: value)",
    "model_type": "a section (name: value)",
    "model_attributes_type": "a section (name: value)",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "one of {expected}",
    "enum": "one of {expected}",
    "string_pattern_mismatch": "text of the form {pattern}",
}


def sentences(
    error: ValidationError, model: type[BaseModel], layers: Sequence[Layer], prefix: str = ""
) -> list[str]:
    """Return one sentence for each wrong setting, in the order of the model's fields.

    Args:
        error: what validating the merged `layers` against `model` raised.
        model: the model whose fields are offered as the nearest name.
        layers: the settings, for the place where the wrong one was written.
        prefix: dotted name of the section that `model` describes; empty for the whole file.
    """
    start = tuple(prefix.split(".")) if prefix else ()
    by_path: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        path = start + _path(model, detail)
        by_path.setdefault(path, []).append(detail)
    return [
        f"{origin_of(layers, _plain(path))}: {_sentence(path, details, model, start)}"
        for path, details in by_path.items()
    ]


def nearest(name: str, known: Sequence[str]) -> str:
    """Return `; did you mean X?` for the closest of the known names, or nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _sentence(
    path: tuple[str, ...],
    details: Sequence[ErrorDetails],
    model: type[BaseModel],
    start: tuple[str, ...],
) -> str:
    first = details[0]
    dotted = ".".join(path)
    if first["type"] == "missing":
        return f"{dotted} is missing; it has no default"
    if first["type"] == "extra_forbidden":
        known = _known_names(model, path, start)
        return f"{dotted} is not a setting{known}"
    if first["type"] in ("value_error", "assertion_error"):
        message = str(first.get("ctx", {}).get("error", first["msg"]))
        return message if not dotted or path[-1] in message else f"{dotted}: {message}"
    wanted = " or ".join(dict.fromkeys(_wanted(detail) for detail in details))
    return f"{dotted}={_shown(first['input'])} is not possible; wanted {wanted}"


def _wanted(detail: ErrorDetails) -> str:
    wanted = _WANTED.get(detail["type"])
    if wanted is None:
        return detail["msg"][:1].lower() + detail["msg"][1:]
    return wanted.format(**detail.get("ctx", {}))


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{...}"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def _known_names(model: type[BaseModel], path: tuple[str, ...], start: tuple[str, ...]) -> str:
    """Return the hint for an unknown key: the same name elsewhere, a near sibling, or the list."""
    name, parents = path[-1], path[:-1]
    elsewhere = [known for known in _all_paths(model, start) if known[-1] == name]
    if elsewhere:
        return f"; did you mean {'.'.join(elsewhere[0])}?"
    siblings = sorted(_fields_at(model, parents[len(start) :]))
    if close := difflib.get_close_matches(name, siblings, n=1):
        return f"; did you mean {'.'.join((*parents, close[0]))}?"
    section = ".".join(parents) or "the top level"
    return f"; {section} has {', '.join(siblings) or 'no settings'}"


def _path(model: type[BaseModel], detail: ErrorDetails) -> tuple[str, ...]:
    """Return the names in an error's location without the tags that pydantic adds for unions."""
    path: list[str] = []
    here: list[Any] = [model]
    location = detail["loc"]
    for index, part in enumerate(location):
        is_unknown_key = detail["type"] == "extra_forbidden" and index == len(location) - 1
        if isinstance(part, int):
            path[-1:] = [f"{path[-1]}[{part}]"] if path else [str(part)]
            here = [inner for kind in here for inner in _items(kind)]
            continue
        below = [inner for kind in here for inner in _below(kind, part)]
        if below or is_unknown_key:
            path.append(part)
            here = below
    return tuple(path)


def _below(kind: Any, name: str) -> list[Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(name)
        return list(_kinds(field.annotation)) if field else []
    return _items(kind) if get_origin(kind) in (dict, Mapping) else []


def _items(kind: Any) -> list[Any]:
    args = [arg for arg in get_args(kind) if arg is not Ellipsis]
    return list(_kinds(args[-1])) if args else []


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the plain types behind Annotated and unions."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for arg in get_args(annotation):
            yield from _kinds(arg)
    else:
        yield annotation


def _fields_at(model: type[BaseModel], path: Sequence[str]) -> set[str]:
    here: list[Any] = [model]
    for name in _plain(path):
        here = [inner for kind in here for inner in _below(kind, name)]
    models = [kind for kind in here if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return {name for kind in models for name in kind.model_fields}


def _all_paths(model: type[BaseModel], start: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (*start, name)
        for kind in _kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _all_paths(kind, (*start, name))


def _plain(path: Sequence[str]) -> tuple[str, ...]:
    """Return the path without list indices."""
    return tuple(name.split("[")[0] for name in path)
