"""The command line: `python -m runner COMMAND`; `build_parser` has them all.

Exit codes: 0 finished, 2 bad input (nothing was started or written), 3 halted by the watchdog,
4 preflight refused, 130 interrupted, 1 anything else.

Runs in: driver.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runner import commands, elsewhere, on_head
from runner.answer import answer
from runner.run_copy import Part
from watchdog.errors import WatchkeeperError
from watchdog.redaction import redact

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a mistake is one line on standard error."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["answer"]:
        return answer(argv[1:], main)
    args = build_parser().parse_args(argv)
    # Whoever ends a driver politely (systemd, Kubernetes, make stop) means what Ctrl-C means.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code: int = _command(args)(args, time.time)
    except WatchkeeperError as error:
        sys.stderr.write(redact(f"error: {error}\n"))
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return _INTERRUPTED
    except BrokenPipeError:
        # `logs | head` closed the pipe; Python would complain again while it flushes at exit.
        sys.stderr.close()
        return 0
    return code


def _command(args: argparse.Namespace) -> Callable[..., int]:
    """Return what carries the command out: here, or where ADDRESS says."""
    is_there = getattr(args, "run_elsewhere", None) is not None and args.address
    command: Callable[..., int] = args.run_elsewhere if is_there else args.run_command
    return command


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each sets `run_command`, a function of (args, clock)."""
    parser = argparse.ArgumentParser(
        prog="python -m runner",
        description="Run training jobs under a watchdog.",
        epilog=(__doc__ or "").split("\n\n")[1].replace("\n", " "),
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_submit(subparsers)
    _add_preflight(subparsers)
    _add_resume(subparsers)
    _add_send(subparsers)
    simple = (
        ("status", commands.status, elsewhere.status, "what is known of one run"),
        ("stop", commands.stop, elsewhere.stop, "ask a run to save and stop, and wait for it"),
        ("watch", commands.watch, elsewhere.watch, "live view: curves, ranks, news; q closes it"),
        ("logs", commands.logs, elsewhere.logs, "output of driver and workers, ledger in words"),
        ("report", commands.report, elsewhere.report, "write the report of a run again"),
        ("predict", commands.predict, None, "write what the model makes of the job's test data"),
        ("keep-resumed", on_head.keep_resumed, None, "resume, again when the driver is killed"),
    )
    for name, function, there, text in simple:
        command = _add_command(subparsers, name, text)
        command.set_defaults(run_command=function)
        _add_run(command)
        if there is not None:
            _add_address(command, there)
        if name == "status":
            _add_json(command)
        elif name == "stop":
            command.add_argument(
                "--timeout", type=float, default=60.0, help="longest wait in seconds (60)"
            )
        elif name == "predict":
            command.add_argument("--data", help="data folder; default: the run's own")
            command.add_argument("--out", type=Path, help="default: predictions/ in the run")
        elif name == "logs":
            command.add_argument(
                "-f", "--follow", action="store_true", help="wait for more until the driver ends"
            )
    compared = _add_command(subparsers, "compare", "two or more runs side by side")
    compared.set_defaults(run_command=commands.compare)
    compared.add_argument("run", nargs="+", metavar="RUN", help="names of the runs")
    compared.add_argument("--out", type=Path, help="the page; default: runs/comparisons/")
    _add_address(compared, None)
    _add_json(compared)
    runs = _add_command(subparsers, "list", "all runs, the latest first")
    runs.set_defaults(run_command=commands.list_all)
    _add_address(runs, elsewhere.list_all)
    _add_json(runs)
    drills = _add_command(subparsers, "drills", "the game day: every fault against a small job")
    drills.set_defaults(run_command=commands.drills)
    drills.add_argument("--only", help="names of scenarios, comma-separated; default: all")
    drills.add_argument("--job", default="template", help="the job to drill (template)")
    drills.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    _add_json(drills)
    new = subparsers.add_parser("new-job", help="a new folder under jobs/, copied from an example")
    new.set_defaults(run_command=commands.start_job)
    new.add_argument("name", help="name of the job, its folder and its package")
    new.add_argument("--from", dest="example", default="template", help="template or plain_loop")
    return parser


_Subparsers = argparse._SubParsersAction  # argparse has no public name for it


def _add_submit(subparsers: _Subparsers[argparse.ArgumentParser]) -> None:
    submit = _add_command(subparsers, "submit", "start a run of a job")
    submit.set_defaults(run_command=commands.submit)
    _add_submit_options(submit)
    kept = _add_command(subparsers, "keep", "submit, and resume when the driver is killed")
    kept.set_defaults(run_command=on_head.keep)
    _add_submit_options(kept)


def _add_submit_options(submit: argparse.ArgumentParser) -> None:
    _add_settings(submit)
    submit.add_argument("--drill", help='faults on purpose, such as "nan@step=40,rank=1"')
    _add_address(submit, None)
    _add_kept(submit)
    submit.add_argument("--run", help="name of the new run; default: job, date, time")
    submit.add_argument(
        "--no-preflight",
        dest="preflight",
        action="store_false",
        help="run without the checks, or in spite of what they would say",
    )
    _add_follow(submit)
    _add_json(submit)


def _add_preflight(subparsers: _Subparsers[argparse.ArgumentParser]) -> None:
    preflight = _add_command(subparsers, "preflight", "check a job without running it")
    preflight.set_defaults(run_command=commands.preflight)
    _add_settings(preflight)
    preflight.add_argument(
        "--lr-range", action="store_true", help="also sweep the learning rate (under a minute)"
    )
    _add_json(preflight)


def _add_settings(command: argparse.ArgumentParser) -> None:
    command.add_argument("--job", required=True, help="folder under jobs/")
    command.add_argument("--data", help="data folder; default: the job file's, else generated")
    command.add_argument("--workers", help="a count, or an elastic range such as 1-4")
    command.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="A.B=VALUE",
        help='settings that win over the job file, such as "train.max_steps=200 train.lr=1e-3"',
    )
    command.add_argument("--variant", help="a name under the job file's variants")


def _add_resume(subparsers: _Subparsers[argparse.ArgumentParser]) -> None:
    resume = _add_command(subparsers, "resume", "continue a run from its newest checkpoint")
    resume.set_defaults(run_command=commands.resume)
    _add_run(resume)
    # For `submit --follow 0` only: the detached driver begins a run that has no past.
    resume.add_argument("--first", action="store_true", help=argparse.SUPPRESS)
    _add_kept(resume)
    _add_address(resume, elsewhere.resume)
    _add_follow(resume)
    _add_json(resume)


def _add_send(subparsers: _Subparsers[argparse.ArgumentParser]) -> None:
    command = _add_command(subparsers, "send", "a run's files as lines, for a copy elsewhere")
    command.set_defaults(run_command=on_head.send)
    _add_run(command)
    command.add_argument("--part", choices=[part.value for part in Part], default=Part.ALL.value)
    command.add_argument("--looks", type=int, default=1, help="looks for news, one a second")
    command.add_argument("--have", default="{}", help="JSON: bytes of each file that are there")


def _add_command(
    subparsers: _Subparsers[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    command = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
    command.add_argument(
        "--runs-dir",
        type=lambda text: Path(text).expanduser(),
        default=Path("runs"),
        help="folder of all runs (runs); with --address a folder there, in the home of its user",
    )
    return command


def _add_run(command: argparse.ArgumentParser) -> None:
    group = command.add_mutually_exclusive_group(required=True)
    group.add_argument("run", nargs="?", metavar="RUN", help="name of the run")
    group.add_argument("--run", dest="run_option", metavar="RUN", help=argparse.SUPPRESS)


def _add_address(command: argparse.ArgumentParser, there: Callable[..., int] | None) -> None:
    command.set_defaults(run_elsewhere=there)
    command.add_argument(
        "--address", help="dashboard of a Ray cluster, such as http://head:8265; default: here"
    )


def _add_kept(command: argparse.ArgumentParser) -> None:
    command.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)


def _add_follow(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--follow",
        type=int,
        choices=(0, 1),
        default=1,
        help="1: stay until the run ends; 0: start it in the background and return",
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--json", action="store_true", help="one JSON document on standard output, nothing else"
    )
