"""Claims about reading and writing YAML without YAML 1.1's surprises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.errors import SpecError
from watchdog.strict_yaml import dump_yaml, load_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.5E+2", 150.0),
        (".5", 0.5),
        ("-7", -7),
        ("012", 12),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("1-4", "1-4"),
        ("true", True),
        ("~", None),
        ("", None),
        (".inf", float("inf")),
        ("'1e-3'", "1e-3"),
        ("[1, 2.0, a]", [1, 2.0, "a"]),
    ],
)
def test_a_scalar_is_what_people_mean(text: str, value: Any) -> None:
    loaded = load_yaml(text, "f")
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1", "a is already on line 1"),
        ("s:\n  a: 1\n  a: 1", "line 3, column 3", "a is already on line 2"),
        ("1: x", "line 1, column 1", "not a name"),
        ("? [1]\n: x", "line 1, column 3", "not a name"),
        ("a: [1", "line 1, column 6", "expected ',' or ']'"),
        ("a: 1\n\tb: 2", "line 2, column 1", "indent with spaces"),
        ("a: !!python/name:os.system x", "line 1, column 4", "constructor"),
        ("a: *b", "line 1, column 4", "undefined alias"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, place: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_yaml(text, "job.yaml")
    assert str(caught.value).startswith(f"job.yaml {place}: ")
    assert problem in str(caught.value)


def test_a_control_character_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match="unacceptable character"):
        load_yaml("a: \x00", "job.yaml")


def test_a_merge_may_override_what_it_merges() -> None:
    text = "base: &b {p: 1, q: 2}\nnext: &n {<<: *b, p: 3}\nlast: {<<: *n, p: 4}"
    loaded = load_yaml(text, "f")
    assert loaded["next"] == {"p": 3, "q": 2}
    assert loaded["last"] == {"p": 4, "q": 2}


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Co", "Cn"))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abye01.", min_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(_VALUES)
def test_what_is_written_reads_back_equal(value: Any) -> None:
    assert load_yaml(dump_yaml(value), "f") == value


@pytest.mark.parametrize("text", ["1e-3", "no", "on", "1:30", "012", "null", "", "1_000", "0x10"])
def test_text_is_written_so_that_a_yaml_1_1_reader_agrees(text: str) -> None:
    written = dump_yaml({"a": text})
    assert yaml.safe_load(written) == {"a": text}
    assert load_yaml(written, "f") == {"a": text}


def nested(levels: int) -> str:
    """Return a text whose aliases double what it holds at each level."""
    lines = ["a0: &a0 [1, 2]"]
    lines += [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, levels)]
    return "\n".join(lines)


def merged(levels: int) -> str:
    """Return a text whose merges double the keys they copy at each level."""
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("bomb", [nested(60), merged(60)])
def test_aliases_cannot_make_a_small_text_large(bomb: str) -> None:
    with pytest.raises(SpecError, match="more than 100000 values"):
        load_yaml(bomb, "job.yaml")


def test_a_few_aliases_are_fine() -> None:
    value = load_yaml("a: &a [1, 2]\nb: *a\nc: &c {x: 1}\nd: {<<: *c, y: 2}", "job.yaml")
    assert value == {"a": [1, 2], "b": [1, 2], "c": {"x": 1}, "d": {"x": 1, "y": 2}}


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: [*a]}"])
def test_a_value_that_contains_itself_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="contains itself"):
        load_yaml(text, "job.yaml")


@pytest.mark.parametrize("depth", [65, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    with pytest.raises(SpecError, match=r"deep|recursion"):
        load_yaml("[" * depth + "]" * depth, "job.yaml")


def test_a_long_text_is_refused_unread() -> None:
    with pytest.raises(SpecError, match="longer than 262144 characters"):
        load_yaml("# " + "x" * 2**18, "job.yaml")


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a: \x00b", b"\xc3"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(data)
    with pytest.raises(SpecError, match=r"^job\.yaml"):
        read_yaml(path, "job.yaml")


def test_a_device_that_never_ends_is_not_read_to_its_end() -> None:
    with pytest.raises(SpecError):
        read_yaml(Path("/dev/zero"), "job.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [true]",
        "a: !!python/name:os.system",
        "!!python/module:os",
        "a: !!python/tuple [1]",
        "a: !own {}",
    ],
)
def test_a_tag_cannot_name_code(text: str) -> None:
    with pytest.raises(SpecError, match="could not determine a constructor"):
        load_yaml(text, "job.yaml")
