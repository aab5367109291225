"""Runs a check; one that breaks is a finding like the others.

Runs in: preflight's own process.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

from runner.preflight.bench import Bench, Unavailable
from runner.preflight.checks import CHECKS, Check
from runner.preflight.findings import Finding, unchecked, warned

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    """What one check found, and the seconds it took."""

    check: str
    findings: tuple[Finding, ...]
    seconds: float


def run_check(name: str, bench: Bench) -> Checked:
    """Return what the check of that name found."""
    check = CHECKS[name]
    started = time.perf_counter()
    findings = tuple(replace(f, check=name, title=check.title) for f in _one(check, bench))
    return Checked(name, findings, time.perf_counter() - started)


def _one(check: Check, bench: Bench) -> list[Finding]:
    """Return the findings of a check; those it made before it broke are kept."""
    found: list[Finding] = []
    try:
        found.extend(check.check(bench))
    except Unavailable as missing:
        found.append(unchecked(str(missing)))
    except Exception as error:
        _log.exception("the check %s broke", check.name)
        found.append(
            warned(
                f"the check broke: {type(error).__name__}: {error}",
                "the task raises where a run would call it, or the check is wrong; the traceback "
                "is above",
            )
        )
    return found
