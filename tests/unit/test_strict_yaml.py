"""Claims about reading and writing YAML without YAML 1.1's surprises."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.strict_yaml import dump_yaml, load_yaml
from watchdog.errors import SpecError


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
