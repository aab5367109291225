"""The metrics catalogue: names that a query can rely on, and a document that agrees."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from watchdog.metrics import CATALOGUE, MetricType, markdown

FAMILIES = pytest.mark.parametrize("name", CATALOGUE)


@FAMILIES
def test_name_has_the_prefix_and_the_suffix_of_its_type(name: str) -> None:
    family = CATALOGUE[name]
    assert re.fullmatch(r"training_[a-z0-9]+(_[a-z0-9]+)*", name)
    assert name.endswith("_total") == (family.type is MetricType.COUNTER)
    assert name.endswith("_info") == (family.type is MetricType.INFO)


@FAMILIES
def test_no_label_is_called_job(name: str) -> None:
    assert not {"job", "instance", "le", "quantile"} & set(CATALOGUE[name].all_labels)


@FAMILIES
def test_help_is_a_sentence(name: str) -> None:
    assert re.fullmatch(r"[A-Z0-9][^|\n]*[.\d]\.?", CATALOGUE[name].help)
    assert CATALOGUE[name].help.endswith(".")


def test_every_name_is_listed_once() -> None:
    listed = re.findall(r"^\| `(training_\w+)` \|", markdown(), flags=re.MULTILINE)
    assert listed == list(CATALOGUE)


def test_document_is_up_to_date() -> None:
    path = Path(__file__).resolve().parents[2] / "docs" / "METRICS.md"
    assert path.read_text() == markdown(), "run: python -m watchdog.metrics > docs/METRICS.md"
