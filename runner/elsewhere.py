"""The commands with ADDRESS: the same answers, about runs on a cluster.

What is short is asked there and shown here (`list`, `status`, `stop`); what reads a run's files
gets a copy of them (`logs`, `watch`, `compare`); what drives becomes a job there (`submit`,
`resume`). Ray is imported only where it is called.

Runs in: driver.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from runner.driver_lock import is_driven
from runner.frames import Kind
from runner.remote_run import (
    cluster_of,
    cluster_options,
    copied,
    document,
    heard,
    name_of,
    there,
)
from runner.run_copy import Part
from runner.run_logs import log_lines
from runner.runs import new_run_name
from runner.status_view import show_list, show_status, status_from_json, status_json, to_json_text
from runner.watch import watch_run
from watchdog.errors import BadInput, RunLocked, RunNotFound

if TYPE_CHECKING:
    from runner.ray_cluster import Cluster  # imports Ray
    from runner.upload import Upload

Clock = Callable[[], float]

#: Chosen: the checks before a run take some ten seconds.
_AGAIN_S = 2.0
#: What is brought from a cluster lies here; `--runs-dir` is a folder there.
_HERE = Path("runs")


def submit(args: Namespace, clock: Clock) -> int:
    """Start a kept `submit` with the options of this shell there, and follow it if asked."""
    cluster = cluster_of(args)
    run_id = args.run or new_run_name(args.job, t_s=clock())
    options = cluster_options(args, run_id)
    job_id, upload = _submit_kept(cluster, run_id, ["keep", *options], clock)
    if not args.json:
        if upload is not None:
            _say(f"sent {upload.files} files, {upload.size_bytes / 2**20:.1f} MiB")
            for name in upload.left_out:
                _say(f"not sent, for it may hold secrets: {name}")
        _say(f"run {run_id} is driven on the cluster at {args.address}")
    return _follow(args, cluster, run_id, job_id)


def resume(args: Namespace, clock: Clock) -> int:
    """Continue a run there, after the same checks as here."""
    cluster, run_id = cluster_of(args), name_of(args)
    before = status_from_json(document(cluster, ["status", run_id, *there(args)]))
    if before.state == "running":
        raise RunLocked(
            f"run {run_id} has a driver on the cluster at {args.address}; `make stop` ends it, "
            "`make logs FOLLOW=1` follows it"
        )
    if before.state == "finished":
        if not args.json:
            _say(f"run {run_id} has finished at step {before.step}; nothing to resume")
        else:
            sys.stdout.write(to_json_text({**status_json(before), "exit_code": 0}))
        return 0
    job_id, _ = _submit_kept(cluster, run_id, ["keep-resumed", run_id, *there(args)], clock)
    if not args.json:
        _say(f"run {run_id} goes on on the cluster at {args.address}")
    return _follow(args, cluster, run_id, job_id)


def list_all(args: Namespace, clock: Clock) -> int:
    """Show all runs there."""
    rows = document(cluster_of(args), ["list", *there(args)])
    if args.json:
        sys.stdout.write(to_json_text(rows))
    else:
        show_list(Console(), [status_from_json(row) for row in rows])
    return 0


def status(args: Namespace, clock: Clock) -> int:
    """Show one run there."""
    row = document(cluster_of(args), ["status", name_of(args), *there(args)])
    if args.json:
        sys.stdout.write(to_json_text(row))
    else:
        show_status(Console(), status_from_json(row))
    return 0


def stop(args: Namespace, clock: Clock) -> int:
    """Ask the driver there to save and stop."""
    command = ["stop", name_of(args), "--timeout", f"{args.timeout:g}", *there(args)]
    for kind, text in heard(cluster_of(args), command):
        if kind is Kind.OUT:
            sys.stdout.write(text)
            sys.stdout.flush()
    return 0


def watch(args: Namespace, clock: Clock) -> int:
    """Show a run there live, from a copy that follows it; one that is being checked is awaited."""
    cluster = cluster_of(args)
    while True:
        try:
            with copied(args, is_followed=True, cluster=cluster) as run:
                return watch_run(run, Console(), clock=clock, is_alive=lambda: is_driven(run))
        except RunNotFound:
            if not cluster.is_under_way(name_of(args)):
                raise
        _say(f"run {name_of(args)} has no folder yet: it is being checked on the cluster")
        time.sleep(_AGAIN_S)


def logs(args: Namespace, clock: Clock) -> int:
    """Print the logs of a run there, and go on printing while it lives if asked."""
    cluster = cluster_of(args)
    try:
        with copied(args, part=Part.LOGS, is_followed=args.follow, cluster=cluster) as run:
            for line in log_lines(run, is_following=args.follow, sleep=time.sleep):
                _say(line)
    except RunNotFound:
        # It is being checked, or was refused: then the job's own output is all there is.
        job_ids = cluster.jobs_of(name_of(args))
        if not job_ids:
            raise
        output = cluster.follow(job_ids[0]) if args.follow else [cluster.log_of(job_ids[0])]
        for text in output:
            sys.stdout.write(text)
            sys.stdout.flush()
    return 0


def report(args: Namespace, clock: Clock) -> int:
    """Have the report written there, and bring it here."""
    with copied(args, part=Part.REPORT) as run:
        target = (_HERE / "reports" / f"{run.run_id}.html").absolute()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(run.report.read_bytes())
    _say(f"report: {target}")
    return 0


def compare(args: Namespace, clock: Clock, compare_here: Callable[[Namespace, Clock], int]) -> int:
    """Put runs there side by side, from copies of them here."""
    with tempfile.TemporaryDirectory() as folder:
        for name in args.run:
            one = Namespace(**{**vars(args), "run": name, "run_option": None})
            with copied(one, into=Path(folder)):
                pass
        name = "-against-".join(args.run)
        out = args.out or _HERE / "comparisons" / f"{name}.html"
        here = {**vars(args), "runs_dir": Path(folder), "out": out, "address": None}
        return compare_here(Namespace(**here), clock)


def _submit_kept(
    cluster: Cluster, run_id: str, command: Sequence[str], clock: Clock
) -> tuple[str, Upload | None]:
    """Start the job that drives a run; return its id and what was sent.

    The first job of a run is called like the run, so that a second one beside it is refused. One
    that has ended does not stand in the way: it may have been refused before there was a run.

    Raises:
        BadInput: another job drives the run, or the code is too large.
    """
    from runner.ray_cluster import JobExists

    if cluster.is_under_way(run_id):
        raise BadInput(
            f"run {run_id} is under way on the cluster at {cluster.address}; "
            f"`make logs RUN={run_id} FOLLOW=1` follows it, another RUN starts anew; "
            f"ADDRESS={cluster.address}"
        )
    try:
        return run_id, cluster.submit(run_id, command)
    except JobExists:
        # The tilde cannot be in the name of a run, so this is no other run's job.
        job_id = f"{run_id}~{new_run_name('again', t_s=clock())}"
        return job_id, cluster.submit(job_id, command)


def _follow(args: Namespace, cluster: Cluster, run_id: str, job_id: str) -> int:
    code = 0
    if args.follow:
        try:
            for text in cluster.follow(job_id):
                if not args.json:
                    sys.stdout.write(text)
                    sys.stdout.flush()
        except KeyboardInterrupt:
            sys.stderr.write(
                f"\nrun {run_id} goes on without you; follow it: make logs RUN={run_id} FOLLOW=1 "
                f"ADDRESS={args.address}   end it: make stop RUN={run_id} ADDRESS={args.address}\n"
            )
            raise
        code = cluster.exit_code(job_id)
    elif not args.json:
        _say(
            f"follow it: make logs RUN={run_id} FOLLOW=1 ADDRESS={args.address}   "
            f"stop: make stop RUN={run_id} ADDRESS={args.address}"
        )
    if args.json:
        found = {"run": run_id, "address": args.address, "exit_code": code}
        sys.stdout.write(to_json_text(found))
    return code


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
