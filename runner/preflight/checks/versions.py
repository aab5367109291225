"""Installed versions: those that the product and the job's extra ask for, and that fit together.

Runs in: preflight's own process.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

import numpy as np
import torch
from packaging.requirements import Requirement

from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, failed, passed, some, unchecked

ORDER = 10
TITLE = "versions"

_DISTRIBUTION = "watchkeeper"


def check(bench: Bench) -> Iterator[Finding]:
    """Find what is missing, of another version, or cannot exchange arrays."""
    try:
        wanted = [Requirement(text) for text in metadata.requires(_DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        yield unchecked(f"{_DISTRIBUTION} is not installed as a package, so it asks for nothing")
        wanted = []
    wrong = list(unmet(wanted, extra=bench.spec.name))
    if wrong:
        yield failed(some(wrong, 5), "make setup installs what pyproject.toml asks for")
    try:
        _exchange()
    except Exception as error:
        yield failed(
            f"torch {torch.__version__} and numpy {np.__version__} cannot exchange arrays: {error}",
            "install the numpy that this torch was built for (before 2.0 for torch before 2.3)",
        )
        return
    if not wrong:
        yield passed(
            f"python {platform.python_version()}, torch {torch.__version__}, "
            f"numpy {np.__version__}, {len(wanted)} requirements hold"
        )


def unmet(requirements: list[Requirement], *, extra: str) -> Iterator[str]:
    """Yield, in words, each requirement of the core and of `extra` that is not met here."""
    for wanted in requirements:
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield f"{wanted.name} is not installed, wanted {wanted.specifier or 'any version'}"
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            yield f"{wanted.name} is {found}, wanted {wanted.specifier}"


def _exchange() -> None:
    """Send an array to torch and back, as every sample does."""
    there = torch.from_numpy(np.arange(3, dtype=np.float32))
    if there.numpy().sum() != 3.0:
        raise ValueError("the numbers do not arrive")
