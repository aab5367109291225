"""What the driver asks the process of the checks for.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.job import Job  # imports torch


@dataclass(frozen=True, slots=True)
class Request:
    """The job, where its run would be, and the checks not to run; it survives pickling."""

    job: Job
    run_dir: Path
    skip: frozenset[str] = frozenset()
    lr_range: bool = False
