"""What each command does; the parser and the error handling are in `cli`.

Every function takes the parsed options and a clock (Unix seconds) and returns the exit code.
Ray and torch are imported inside `submit` and `resume` alone, so that the others answer at once.

Runs in: driver.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from argparse import Namespace
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from typing import IO, TYPE_CHECKING, cast

from rich.console import Console

from runner import elsewhere
from runner.admission import admit, admit_unseen, preflight_alone
from runner.drill_grammar import check_drill, parse_drill
from runner.driver_lock import (
    clear_stop,
    holder,
    is_driven,
    locked_sentence,
    request_stop,
    wait_until_free,
)
from runner.environment import write_environment
from runner.new_job import new_job
from runner.progress import progress_for
from runner.run_logs import Doubled, log_lines
from runner.run_status import read_status
from runner.runs import (
    RunFolder,
    check_name,
    check_run_name,
    create_run,
    find_run,
    list_runs,
)
from runner.spec import worker_bounds
from runner.spec_reader import ResolvedSpec, dump_spec, read_resolved, read_spec
from runner.status_view import show_list, show_status, status_json, to_json_text
from runner.watch import watch_run
from watchdog.discovery import unlist_run
from watchdog.errors import RunLocked, SpecError, WatchkeeperError
from watchdog.redaction import redact

if TYPE_CHECKING:
    from runner.job import Job

Clock = Callable[[], float]


def submit(args: Namespace, clock: Clock) -> int:
    """Check everything, create the run's folder, and drive the run here or in the background."""
    resolved = read_spec(
        args.job,
        overrides=args.overrides,
        variant=args.variant,
        # The data of a cluster need not be visible from here.
        data=None if args.address else args.data,
        workers=args.workers,
        drill=args.drill,
    )
    if args.address and args.run is not None:
        check_name(args.run)  # whether it is free is known there
    elif args.run is not None:
        check_run_name(args.runs_dir, args.run)
    check_drill(
        parse_drill(resolved.spec.drill),
        workers=worker_bounds(resolved.spec.workers),
        max_steps=resolved.spec.train.max_steps,
        is_on_cluster=bool(args.address or os.environ.get("RAY_ADDRESS")),
    )
    if args.address:
        return elsewhere.submit(args, clock)
    # This imports torch for a second or more, which a mistake in the options need not wait for.
    from runner.submit import find_data

    job = find_data(args.job, resolved, args.runs_dir)
    _tell(args, job.prepare())  # raises for a data folder that cannot be trained on
    resolved = admit(job, resolved, args) if args.preflight else admit_unseen(job, resolved)
    job = replace(job, spec=resolved.spec)
    run = create_run(args.runs_dir, args.job, args.run, t_s=clock())
    run.job_yaml.write_text(dump_spec(resolved.spec), encoding="utf-8")
    write_environment(run, sys.argv[1:])
    if not args.follow:
        return _start_detached(run, args, is_first=True)
    return _drive(run, resolved, job, args, clock, is_resumed=False)


def preflight(args: Namespace, clock: Clock) -> int:
    """Run the checks alone, and say all that they found."""
    resolved = read_spec(
        args.job,
        overrides=args.overrides,
        variant=args.variant,
        data=args.data,
        workers=args.workers,
    )
    from runner.submit import find_data

    job = find_data(args.job, resolved, args.runs_dir)
    _tell(args, job.prepare())
    return preflight_alone(job, args)


def resume(args: Namespace, clock: Clock) -> int:
    """Continue a run that nobody drives; one that has finished stays finished."""
    run = _find(args)
    resolved = read_resolved(run.job_yaml)
    if is_driven(run):
        raise RunLocked(locked_sentence(run))
    if not args.first:
        before = read_status(run, t_s=clock())
        if before.state == "finished":
            _tell(args, f"run {run.run_id} has finished at step {before.step}; nothing to resume")
            return _conclude(run, args, clock, 0)
        # A request that no driver lived to obey must not stop the next one.
        clear_stop(run)
    if not args.follow:
        return _start_detached(run, args, is_first=False)
    from runner.submit import find_data

    job = find_data(resolved.spec.name, resolved, args.runs_dir)
    _tell(args, job.prepare())
    return _drive(run, resolved, job, args, clock, is_resumed=not args.first)


def list_all(args: Namespace, clock: Clock) -> int:
    """Show all runs."""
    statuses = [read_status(run, t_s=clock()) for run in list_runs(args.runs_dir)]
    if args.json:
        sys.stdout.write(to_json_text([status_json(status) for status in statuses]))
    else:
        show_list(Console(), statuses)
    return 0


def status(args: Namespace, clock: Clock) -> int:
    """Show one run."""
    found = read_status(_find(args), t_s=clock())
    if args.json:
        sys.stdout.write(to_json_text(status_json(found)))
    else:
        show_status(Console(), found)
    return 0


def stop(args: Namespace, clock: Clock) -> int:
    """Ask the driver to save and stop, and wait until it has let go of the run."""
    run = _find(args)
    state = read_status(run, t_s=clock()).state
    if not is_driven(run) and state != "pending":
        sys.stdout.write(f"run {run.run_id} is not driven by anyone; its state is {state}\n")
        if unlist_run(run.path):
            sys.stdout.write("it was killed: Prometheus misses it no longer\n")
        return 0
    # A pending run has a driver that is still importing; it will find the request.
    request_stop(run)
    if not is_driven(run):
        sys.stdout.write(f"run {run.run_id} has not started yet; it stops as soon as it does\n")
        return 0
    pid = holder(run).get("pid", "unknown")
    sys.stdout.write(f"asked the driver (process {pid}) to stop; waiting\n")
    sys.stdout.flush()
    if not wait_until_free(run, args.timeout):
        raise WatchkeeperError(
            f"run {run.run_id} is still driven by process {pid} after {args.timeout:g} s; it may "
            "be in a long step or checkpoint; the request stands, wait longer with --timeout"
        )
    after = read_status(run, t_s=clock())
    sys.stdout.write(f"run {run.run_id} is {after.state} at step {after.step}\n")
    return 0


def logs(args: Namespace, clock: Clock) -> int:
    """Print the logs of a run, and go on printing while it lives if asked."""
    for line in log_lines(_find(args), is_following=args.follow, sleep=time.sleep):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


def watch(args: Namespace, clock: Clock) -> int:
    """Show a run live until it ends; closing the view leaves the run alone."""
    run = _find(args)
    return watch_run(run, Console(), clock=clock, is_alive=lambda: is_driven(run))


def report(args: Namespace, clock: Clock) -> int:
    """Write the report of a run and say where it is."""
    from runner.report import write_report

    run = _find(args)
    write_report(run.path)
    sys.stdout.write(f"report: {run.report}\n")
    return 0


def start_job(args: Namespace, clock: Clock) -> int:
    """Copy an example under a new name and say how to run it."""
    folder = new_job(args.name, args.example)
    sys.stdout.write(
        f"wrote {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}\n"
        f"it runs at once: make submit JOB={args.name}\n"
    )
    return 0


def drills(args: Namespace, clock: Clock) -> int:
    """Run the game day and print its table; 1 when a scenario did not come out as promised."""
    from runner.drill_scenarios import choose
    from runner.drill_table import markdown, text

    scenarios = choose(args.only)
    from runner.drill_day import GameDay  # torch and Ray take seconds to import

    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(clock()))
    folder = args.runs_dir.absolute() / f"drills-{stamp}"
    folder.mkdir(parents=True)
    _tell(args, f"{len(scenarios)} scenarios; runs and logs in {folder}")
    rows = GameDay(folder, args.job, lambda line: _tell(args, line)).run(scenarios)
    if args.json:
        sys.stdout.write(to_json_text([row.to_json() for row in rows]))
    else:
        sys.stdout.write(markdown(rows) if args.markdown else text(rows))
    return 1 if any(row.misses for row in rows) else 0


def compare(args: Namespace, clock: Clock) -> int:
    """Put runs side by side, and write a page with their curves."""
    if args.address:
        return elsewhere.compare(args, clock, compare)
    from runner.compare import compare_runs, comparison_json, show_comparison

    if len(args.run) < 2:
        raise SpecError("a comparison takes two runs or more; A and B name them")
    runs = [find_run(args.runs_dir, name) for name in args.run]
    name = "-against-".join(run.run_id for run in runs)
    page = args.out or args.runs_dir / "comparisons" / f"{name}.html"
    found = compare_runs(runs, page)
    if args.json:
        sys.stdout.write(to_json_text(comparison_json(found, page)))
    else:
        show_comparison(Console(), found)
        sys.stdout.write(f"page: {page}\n")
    return 0


def predict(args: Namespace, clock: Clock) -> int:
    """Write what a run's model makes of the job's unlabelled data."""
    from runner.predict import predict as predict_with
    from runner.submit import find_data

    run = _find(args)
    resolved = read_resolved(run.job_yaml)
    if args.data is not None:
        data = resolved.spec.data.model_copy(update={"path": args.data})
        resolved = replace(resolved, spec=resolved.spec.model_copy(update={"data": data}))
    job = find_data(resolved.spec.name, resolved, args.runs_dir)
    folder = args.out or run.path / "predictions"
    sys.stdout.write(f"{predict_with(run, job, folder)}\n")
    return 0


def _find(args: Namespace) -> RunFolder:
    return find_run(args.runs_dir, args.run or args.run_option)


def _drive(
    run: RunFolder,
    resolved: ResolvedSpec,
    job: Job,
    args: Namespace,
    clock: Clock,
    *,
    is_resumed: bool,
) -> int:
    """Drive the run in this process until it ends; a mistake of ours leaves its traceback."""
    from runner.submit import drive

    # Under a keeper there is no shell that could have sent the output to the run's log.
    output = cast(IO[str], Doubled(sys.stdout, run.driver_log)) if args.kept else None
    show = progress_for(Console(file=output), is_silent=args.json)
    show.say(f"run {run.run_id} in {run.path}")
    try:
        # Ray prints the death of a worker to standard output, which --json keeps for one document.
        with redirect_stdout(sys.stderr if args.json else sys.stdout):
            code = drive(run, resolved, job=job, is_resumed=is_resumed, show=show)
    except WatchkeeperError:
        raise
    except Exception as error:
        with run.crash_log.open("a", encoding="utf-8") as log:
            log.write(redact(traceback.format_exc()))
        raise WatchkeeperError(
            f"run {run.run_id} failed by a mistake in the runner: {error!r}; the traceback is in "
            f"{run.crash_log}; `make resume RUN={run.run_id}` continues the run"
        ) from error
    finally:
        show.close()
    return _conclude(run, args, clock, code)


def _start_detached(run: RunFolder, args: Namespace, *, is_first: bool) -> int:
    """Start a driver that outlives this shell, and say how to follow it."""
    command = [sys.executable, "-u", "-m", "runner", "resume", run.run_id]
    command += ["--runs-dir", str(run.path.parent), *(["--first"] if is_first else [])]
    with run.driver_log.open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # The child is on its own from here; without this, Python warns that it is still running.
    child.returncode = 0
    if args.json:
        document = {"run": run.run_id, "path": str(run.path), "pid": child.pid}
        sys.stdout.write(to_json_text(document))
    else:
        sys.stdout.write(
            f"run {run.run_id} is driven in the background by process {child.pid}\n"
            f"follow it: make logs RUN={run.run_id} FOLLOW=1   "
            f"status: make status RUN={run.run_id}   stop: make stop RUN={run.run_id}\n"
        )
    return 0


def _conclude(run: RunFolder, args: Namespace, clock: Clock, code: int) -> int:
    if args.json:
        found = status_json(read_status(run, t_s=clock()))
        sys.stdout.write(to_json_text({**found, "path": str(run.path), "exit_code": code}))
    return code


def _tell(args: Namespace, sentence: str) -> None:
    if not args.json:
        sys.stdout.write(f"{sentence}\n")
