"""Claims about layers of settings."""

from __future__ import annotations

from typing import Any

import pytest

from runner.overrides import Layer, merge, origin_of, read_assignments
from watchdog.errors import SpecError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("train.lr=1e-3", [{"train": {"lr": 0.001}}]),
        ("a=1  b.c=x", [{"a": 1}, {"b": {"c": "x"}}]),
        ("a=[1, 2] b=3", [{"a": [1, 2]}, {"b": 3}]),
        ("a={x: 1, y: 2}", [{"a": {"x": 1, "y": 2}}]),
        ("a='two words' b=\"c=d e\"", [{"a": "two words"}, {"b": "c=d e"}]),
        ("drill=nan@step=40,rank=1;kill@step=80", [{"drill": "nan@step=40,rank=1;kill@step=80"}]),
        ("a=", [{"a": None}]),
        ("  ", []),
    ],
)
def test_assignments_are_read(text: str, values: list[dict[str, Any]]) -> None:
    assert [layer.values for layer in read_assignments(text)] == values


@pytest.mark.parametrize("text", ["steps", "a=1 two", "=3", "a.=1", "1a=2"])
def test_what_is_no_assignment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SpecError, match=r"train\.max_steps=200"):
        read_assignments(text)


def test_a_value_that_is_not_yaml_names_its_assignment() -> None:
    with pytest.raises(SpecError, match=r"^SET train.lr=\[1 line 1"):
        read_assignments("train.lr=[1")


def test_sections_merge_and_anything_else_is_replaced() -> None:
    layers = [
        Layer("file", {"a": {"x": 1, "y": [1, 2]}, "b": 1}),
        Layer("SET", {"a": {"y": [3]}, "b": {"c": 2}}),
    ]
    assert merge(layers) == {"a": {"x": 1, "y": [3]}, "b": {"c": 2}}
    assert layers[0].values == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


def test_the_origin_is_the_last_layer_that_has_the_setting() -> None:
    layers = [Layer("file", {"a": {"x": 1, "y": 1}}), Layer("SET", {"a": {"y": 2}})]
    assert origin_of(layers, ["a", "x"]) == "file"
    assert origin_of(layers, ["a", "y"]) == "SET"
    assert origin_of(layers, ["a", "z"]) == "SET"
    assert origin_of(layers, ["q"]) == "file"
