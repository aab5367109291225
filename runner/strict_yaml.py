"""YAML as people mean it: 1e-3 is a number, no is a word, a key said twice is an error.

PyYAML follows YAML 1.1, where `1e-3` is text, `no` is false, `1:30` is ninety and the second of two
equal keys wins in silence. A wrong learning rate must not come from that, so job files are read
with the scalars of YAML 1.2's core schema and written so that either reading gives the same value.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from watchdog.errors import SpecError

_BOOL = "tag:yaml.org,2002:bool"
_FLOAT = "tag:yaml.org,2002:float"
_INT = "tag:yaml.org,2002:int"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_KEY_TAGS = frozenset({"tag:yaml.org,2002:str", _MERGE})

#: Source: YAML 1.2.2, section 10.3.2 (core schema), without octal and hexadecimal integers.
_SCALARS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (_NULL, re.compile(r"~|null|Null|NULL|"), "~nN"),
    (_BOOL, re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    (_INT, re.compile(r"[-+]?[0-9]+"), "-+0123456789"),
    (_FLOAT, re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), "-+.0123456789"),
    (_FLOAT, re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), "-+."),
)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars above; text keys only, each of them once."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML's own attribute

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _KEY_TAGS:
                raise _at(key, f"key {_text(key)} is not a name; quote it to make it one")
            if key.value in lines:
                raise _at(key, f"key {key.value} is already on line {lines[key.value]}")
            lines[key.value] = key.start_mark.line + 1
        return node

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        return int(node.value)

    def construct_float(self, node: yaml.ScalarNode) -> float:
        return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes the text which the loader above would read as a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _firsts in _SCALARS:
    _anchored = re.compile(rf"(?:{_pattern.pattern})\Z")
    _first_chars = [*_firsts, ""] if _tag == _NULL else list(_firsts)
    _Loader.add_implicit_resolver(_tag, _anchored, _first_chars)
    _Dumper.add_implicit_resolver(_tag, _anchored, _first_chars)
_Loader.add_implicit_resolver(_MERGE, re.compile(r"<<\Z"), ["<"])
_Loader.add_constructor(_INT, _Loader.construct_integer)
_Loader.add_constructor(_FLOAT, _Loader.construct_float)


def load_yaml(text: str, origin: str) -> Any:
    """Return the plain value of a YAML text; `origin` (a file or an option) opens every error.

    Raises:
        SpecError: not YAML, a key said twice or not text, or a value that is not plain data.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecError(f"{origin}{where}: {_problem(error)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"{origin}: cannot be read as YAML; {_first_line(error)}") from error


def dump_yaml(value: Any) -> str:
    """Return YAML that `load_yaml`, and any YAML 1.1 reader, reads back to an equal value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _at(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _text(node: yaml.Node) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else "(a list or a mapping)"


def _problem(error: yaml.MarkedYAMLError) -> str:
    if error.problem and "\\t" in error.problem:
        return "a tab where YAML wants spaces; indent with spaces"
    parts = [part for part in (error.context, error.problem) if part]
    return "; ".join(parts) or "cannot be read as YAML"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
