"""What a cluster's head is asked to do, and nobody types: drive a run kept, send its files.

Runs in: driver (on a cluster's head, inside a Ray job).
"""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable

from runner.remote_run import cluster_options
from runner.run_copy import Part
from runner.run_copy import send as send_files
from runner.runs import find_run, new_run_name

Clock = Callable[[], float]


def keep(args: Namespace, clock: Clock) -> int:
    """Submit, and resume as often as the driver is killed; what a cluster runs for `submit`."""
    from runner.keeper import keep as keep_driver

    run_id = args.run or new_run_name(args.job, t_s=clock())
    first = ["submit", *cluster_options(args, run_id), "--kept"]
    return keep_driver(first, _kept_resume(args, run_id))


def keep_resumed(args: Namespace, clock: Clock) -> int:
    """Resume, as often as the driver is killed; what a cluster runs for `resume`."""
    from runner.keeper import keep as keep_driver

    command = _kept_resume(args, find_run(args.runs_dir, args.run or args.run_option).run_id)
    return keep_driver(command, command)


def _kept_resume(args: Namespace, run_id: str) -> list[str]:
    return ["resume", run_id, "--runs-dir", str(args.runs_dir), "--kept"]


def send(args: Namespace, clock: Clock) -> int:
    """Write a run's files as lines of text, for a copy of it elsewhere."""
    run, part = find_run(args.runs_dir, args.run or args.run_option), Part(args.part)
    if part is Part.REPORT:
        from runner.report import write_report

        write_report(run.path)
    have = {str(name): int(at) for name, at in json.loads(args.have).items()}
    send_files(
        run, have, sys.stdout.write, part=part, looks=args.looks, pause=lambda: time.sleep(1.0)
    )
    return 0
