"""Whether a job may run: preflight before a submit, and the command that is preflight alone.

Runs in: driver.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from runner.preflight.findings import Level, Preflight
from runner.preflight.launch import Told, run_preflight
from runner.preflight.table import show_findings, summary
from runner.spec import RunSpec
from runner.spec_reader import ResolvedSpec
from runner.status_view import to_json_text
from watchdog.errors import PreflightRefused

if TYPE_CHECKING:
    from runner.job import Job  # imports torch


def preflight_alone(job: Job, args: Namespace) -> int:
    """Run the checks and show all of them; return 0, or 4 when one failed."""
    console = Console()
    preflight = _run(job, args, console, is_silent=args.json)
    if args.json:
        sys.stdout.write(to_json_text(preflight.to_json()))
    else:
        show_findings(console, preflight)
        console.print(summary(preflight), markup=False, soft_wrap=True)
    return PreflightRefused.exit_code if preflight.worst is Level.FAIL else 0


def admit(job: Job, resolved: ResolvedSpec, args: Namespace) -> ResolvedSpec:
    """Run the checks before a submit; return the specification with what they measured.

    A clean preflight is one line; warnings are shown and do not refuse.

    Raises:
        PreflightRefused: a check failed; nothing was started or written.
    """
    console = Console()
    preflight = _run(job, args, console, is_silent=args.json)
    is_refused = preflight.worst is Level.FAIL
    if args.json:
        if is_refused:
            sys.stdout.write(to_json_text(preflight.to_json()))
    else:
        if preflight.worst is not Level.PASS:
            show_findings(console, preflight, with_passed=False)
        console.print(summary(preflight), markup=False, soft_wrap=True)
    if is_refused:
        raise PreflightRefused(_refusal(preflight))
    return resolved_with_floor(resolved, preflight)


def _run(job: Job, args: Namespace, console: Console, *, is_silent: bool) -> Preflight:
    run_dir = Path(args.runs_dir) / (getattr(args, "run", None) or "run")
    with _naming(console, is_silent=is_silent) as tell:
        return run_preflight(job, run_dir, lr_range=getattr(args, "lr_range", False), tell=tell)


@contextmanager
def _naming(console: Console, *, is_silent: bool) -> Iterator[Told]:
    """Show the check under way, where there is a terminal to show it on."""
    if is_silent or not console.is_terminal:
        yield lambda title: None
        return
    with console.status("preflight") as status:
        yield lambda title: status.update(f"preflight: {title}")


def _refusal(preflight: Preflight) -> str:
    failures = preflight.of_level(Level.FAIL)
    count = len(preflight.findings)
    return (
        f"preflight refused job {preflight.job}: {len(failures)} of {count} findings are failures; "
        + "; ".join(f"{finding.title}: {finding.text}" for finding in failures)
        + "; nothing was started; PREFLIGHT=0 (--no-preflight) runs it all the same"
    )


def resolved_with_floor(resolved: ResolvedSpec, preflight: Preflight) -> ResolvedSpec:
    """Return the specification whose `trivial` detector knows the loss of a constant prediction.

    What the job file says of it wins.
    """
    floor, error = preflight.number("floor_loss"), preflight.number("floor_loss_error")
    near_ratio = resolved.spec.watchdog.detector("trivial").near_ratio
    if floor is None or error is None or error > near_ratio * abs(floor):
        return resolved  # known less well than the detector has to tell it apart
    return _with_floor(resolved, floor)


def admit_unseen(job: Job, resolved: ResolvedSpec) -> ResolvedSpec:
    """Return the specification of a submit without preflight, with what the job itself knows."""
    floor = job.trivial_loss()
    return resolved if floor is None else _with_floor(resolved, floor)


def _with_floor(resolved: ResolvedSpec, floor: float) -> ResolvedSpec:
    known = resolved.spec.watchdog.detector("trivial")
    if known.loss is not None or known.classes is not None:
        return resolved
    values = resolved.spec.model_dump(mode="json")
    values["watchdog"]["detectors"]["trivial"]["loss"] = floor
    spec = RunSpec.model_validate_json(to_json_text(values))
    return ResolvedSpec(spec=spec, task_config=resolved.task_config)
