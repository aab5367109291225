"""The audit of what is installed finds what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.audit import Installed, all_installed, is_allowed, problems, requirements, unanswered

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def package(
    name: str = "some", version: str = "1.0", licence: str = "MIT", *packages: str
) -> Installed:
    return Installed(name, version, licence, frozenset(packages))


def test_nothing_is_wrong_with_this_environment() -> None:
    assert list(problems(all_installed(), requirements(PYPROJECT))) == []


def test_every_extra_is_asked_for() -> None:
    names = {requirement.name for requirement in requirements(PYPROJECT)}
    assert {"torch", "ray", "monai", "tifffile", "hypothesis"} <= names


def test_a_package_out_of_range_is_told() -> None:
    wanted = [Requirement("Some_Thing>=2,<3")]
    [said] = problems([package("some-thing", "3.1")], wanted)
    assert said == "some-thing 3.1 is installed, but pyproject wants Some_Thing<3,>=2"
    assert list(problems([package("some.thing", "2.9rc1")], wanted)) == []


def test_a_missing_package_is_told() -> None:
    [said] = problems([], [Requirement("torch==2.13.0")])
    assert "not installed" in said


def test_the_other_watchdog_is_refused() -> None:
    found = list(problems([package("watchdog", "6.0", "Apache-2.0", "watchdog")], []))
    assert "its module has the name of our package" in found[0]
    assert "brings a package called watchdog" in found[1]


def test_a_package_in_the_place_of_ours_is_told_and_ours_is_not() -> None:
    [said] = problems([package("evil", "1.0", "MIT", "evil", "runner")], [])
    assert said == "evil 1.0 brings a package called runner"
    assert list(problems([package("watchkeeper", "0.1", "Apache-2.0", "runner")], [])) == []


@pytest.mark.parametrize(
    "licence",
    [
        "MIT",
        "BSD License",
        "Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND MIT",
        "GPL-3.0-only OR MIT",
        "(Apache-2.0 OR BSD-2-Clause)",
        "DFSG approved AND MIT License",
    ],
)
def test_licences_that_bind_nobody_are_allowed(licence: str) -> None:
    assert is_allowed(package(licence=licence))


@pytest.mark.parametrize(
    "licence",
    [
        "",
        "GPL-3.0-only",
        "AGPL-3.0",
        "MIT AND GPL-2.0",
        "Proprietary",
        "DFSG approved",
        "OSI Approved",
    ],
)
def test_other_licences_and_silence_are_told(licence: str) -> None:
    [said] = problems([package(licence=licence)], [])
    assert (licence or "(none said)") in said


def test_what_the_database_did_not_answer_is_counted() -> None:
    rows = [{"name": "a", "vulns": []}, {"name": "b", "skip_reason": "not found on PyPI"}]
    assert unanswered({"dependencies": rows}) == (1, 2)
    assert unanswered({}) == (0, 0)
