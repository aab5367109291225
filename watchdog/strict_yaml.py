"""YAML as people mean it: 1e-3 is a number, no is a word, a key said twice is an error.

PyYAML follows YAML 1.1, where `1e-3` is text, `no` is false, `1:30` is ninety and the second of two
equal keys wins in silence. A wrong learning rate must not come from that, so job files are read
with the scalars of YAML 1.2's core schema and written so that either reading gives the same value.
A file may come from a stranger: it holds plain data only, and its size is bounded, also that of
what its aliases stand for.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from watchdog.errors import SpecError

_BOOL = "tag:yaml.org,2002:bool"
_FLOAT = "tag:yaml.org,2002:float"
_INT = "tag:yaml.org,2002:int"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_KEY_TAGS = frozenset({"tag:yaml.org,2002:str", _MERGE})

#: Chosen: a hundred times the longest job file of ours, and read within seconds.
_MOST_CHARACTERS = 2**18
#: Chosen: more than the characters above can say without aliases in any sensible file.
_MOST_VALUES = 100_000
#: Chosen: twice as deep as any settings go would be 16; recursion elsewhere ends near 1000.
_MOST_DEPTH = 64
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


def read_yaml(path: Path, origin: str) -> Any:
    """Return the plain value of a YAML file.

    Raises:
        SpecError: it cannot be read, or `load_yaml` refuses its text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(4 * _MOST_CHARACTERS + 1)  # UTF-8 takes 4 bytes at most
        if len(data) > 4 * _MOST_CHARACTERS:
            raise _too_long(origin)
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        raise SpecError(f"{origin}: cannot be read; {error}") from error
    return load_yaml(text, origin)


def load_yaml(text: str, origin: str) -> Any:
    """Return the plain value of a YAML text; `origin` (a file or an option) opens every error.

    Raises:
        SpecError: not YAML, a key said twice or not text, a value that is not plain data or that
            contains itself, or far more of it than anybody means.
    """
    if len(text) > _MOST_CHARACTERS:
        raise _too_long(origin)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecError(f"{origin}{where}: {_problem(error)}") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise SpecError(f"{origin}: cannot be read as YAML; {_first_line(error)}") from error


def _check_size(root: yaml.Node) -> None:
    """Refuse a tree that is too large or too deep once its aliases and merges are written out.

    Raises:
        ValueError: it is, or it contains itself.
    """
    sizes: dict[int, int] = {}
    depths: dict[int, int] = {}
    opened: set[int] = set()
    stack = [root]
    while stack:
        node = stack[-1]
        key = id(node)
        inner = _inner(node)
        if key in sizes:
            stack.pop()
        elif key in opened:
            opened.discard(key)
            stack.pop()
            sizes[key] = 1 + sum(sizes[id(child)] for child in inner)
            depths[key] = 1 + max((depths[id(child)] for child in inner), default=0)
            if sizes[key] > _MOST_VALUES:
                raise ValueError(f"it holds more than {_MOST_VALUES} values, aliases written out")
            if depths[key] > _MOST_DEPTH:
                raise ValueError(f"it is nested more than {_MOST_DEPTH} deep")
        else:
            opened.add(key)
            if any(id(child) in opened for child in inner):
                raise ValueError("a value contains itself")
            stack.extend(inner)


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def dump_yaml(value: Any) -> str:
    """Return YAML that `load_yaml`, and any YAML 1.1 reader, reads back to an equal value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _too_long(origin: str) -> SpecError:
    return SpecError(
        f"{origin}: is longer than {_MOST_CHARACTERS} characters, which no job file is; likely "
        "another file"
    )


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
