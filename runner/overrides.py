"""Layers of settings, each with its origin: file < variant < named options < SET.

Keeping the layers beside the merged value lets an error name the place where the value was written.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watchdog.errors import SpecError
from watchdog.strict_yaml import load_yaml

#: `a.b=value`; blanks may stand in a value only inside quotes, brackets or braces.
_ASSIGNMENT = re.compile(
    r"""\s*(?P<path>[A-Za-z_]\w*(?:\.\w+)*)=(?P<value>(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|\S)*)"""
)

#: Chosen: four times the deepest setting there is.
_MOST_SECTIONS = 16


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place; `origin` names it as the user knows it."""

    origin: str
    values: Mapping[str, Any]


def read_assignments(text: str) -> list[Layer]:
    """Return one layer for each `a.b=value` of a SET text, values read as YAML.

    Raises:
        SpecError: something in the text is not an assignment, or a value is not YAML.
    """
    layers = []
    position = 0
    while text[position:].strip():
        match = _ASSIGNMENT.match(text, position)
        if match is None:
            rest = text[position:].strip()
            raise SpecError(
                f'SET: cannot read {rest!r} as an assignment; write SET="train.max_steps=200", '
                "and put a value with blanks in quotes of its own"
            )
        origin = f"SET {match[0].strip()}"
        if match["path"].count(".") >= _MOST_SECTIONS:
            raise SpecError(
                f"SET: {match['path'][:40]}... names more than {_MOST_SECTIONS} sections"
            )
        value = load_yaml(match["value"], origin)
        layers.append(Layer(origin, nest(match["path"].split("."), value)))
        position = match.end()
    return layers


def nest(path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return `value` under the keys of `path`, outermost first."""
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def merge(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the settings of all layers; sections merge, anything else is replaced."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge_two(merged, layer.values)
    return merged


def origin_of(layers: Sequence[Layer], path: Sequence[str]) -> str:
    """Return the origin of the setting at `path`: the last layer that has it, or its parent."""
    for end in range(len(path), 0, -1):
        for layer in reversed(layers):
            if _has(layer.values, path[:end]):
                return layer.origin
    return layers[0].origin


def _merge_two(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge_two(old, value)
        else:
            merged[key] = value
    return merged


def _has(values: Any, path: Sequence[str]) -> bool:
    for key in path:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True
