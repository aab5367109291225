"""The checks; the folder is the registry.

A check is a module with `ORDER` (its place: cheap ones and those that explain others come first),
`TITLE` (what the table calls it) and a `check(bench) -> Iterable[Finding]`. It keeps no state. What
it needs and cannot have raises `Unavailable`, which makes it "unchecked". A number that another
part reads is named in its finding.

Runs in: preflight's own process.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from runner.preflight.bench import Bench
from runner.preflight.findings import Finding


@dataclass(frozen=True, slots=True)
class Check:
    """One file of this folder."""

    name: str
    order: int
    title: str
    check: Callable[[Bench], Iterable[Finding]]


def _load() -> Mapping[str, Check]:
    found = []
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        found.append(Check(info.name, module.ORDER, module.TITLE, module.check))
    return {check.name: check for check in sorted(found, key=lambda c: (c.order, c.name))}


CHECKS: Mapping[str, Check] = _load()
