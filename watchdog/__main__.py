"""`python -m watchdog replay FILE...`: what would the watchdog have done on this run?

Runs in: anywhere (reads files, prints).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from watchdog.config_file import read_config
from watchdog.errors import WatchkeeperError
from watchdog.importers import IMPORTERS
from watchdog.replay import Event, Replay, Summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code: 0 done, 2 bad input.

    A file that cannot be read does not keep the others from being judged.
    """
    options = _parser().parse_args(arguments)
    try:
        config = read_config(options.config) if options.config is not None else None
        replays = [Replay(path, options.format, config) for path in options.files]
        return max(_replay_or_explain(replay, is_json=options.json) for replay in replays)
    except WatchkeeperError as error:
        return _explain(error)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m watchdog")
    commands = parser.add_subparsers(dest="command", required=True)
    replay = commands.add_parser("replay", help="judge recorded runs")
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE", help="may be gzipped")
    replay.add_argument(
        "--format", default="auto", choices=["auto", *IMPORTERS], help="of all files"
    )
    replay.add_argument("--config", type=Path, help="a job.yaml, for its section watchdog")
    replay.add_argument("--json", action="store_true", help="JSON lines and nothing else")
    return parser


def _replay_or_explain(replay: Replay, *, is_json: bool) -> int:
    try:
        _replay(replay, is_json=is_json)
    except WatchkeeperError as error:
        return _explain(error)
    return 0


def _explain(error: WatchkeeperError) -> int:
    sys.stdout.flush()  # so that what was found before the error stands above it
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


def _replay(replay: Replay, *, is_json: bool) -> None:
    if not is_json:
        print(f"{replay.summary.source}\n{'step':>8}  {'level':9}  {'cause':12}  action    reason")
    for event in replay:
        print(json.dumps(dataclasses.asdict(event)) if is_json else _row(event))
    print(_summary(replay.summary, is_json=is_json), flush=True)
    if replay.summary.is_torn:
        print(
            f"note: the last line of {replay.summary.source} is half-written and was left out",
            file=sys.stderr,
        )


def _row(event: Event) -> str:
    return (
        f"{event.step:>8}  {event.level:9}  {event.cause:12}  {event.action:8}  "
        f"{event.reason} (onset {event.onset_step})"
    )


def _summary(summary: Summary, *, is_json: bool) -> str:
    if is_json:
        fields = ("source", "records", "incidents", "suspects")
        return json.dumps({"summary": {name: getattr(summary, name) for name in fields}})
    counts = (
        _counted(summary.records, "record"),
        _counted(summary.incidents, "incident"),
        _counted(summary.suspects, "suspicion"),
    )
    return f"{', '.join(counts)} (format {summary.format})\n"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


if __name__ == "__main__":
    sys.exit(main())
