"""A run's folder, damaged: it is shown as far as it goes, by every command that reads one."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from runner.compare import compare_runs
from runner.report import write_report
from runner.run_logs import log_lines
from runner.run_status import read_status
from runner.runs import RunFolder, list_runs
from runner.status_view import show_list, show_status, status_json, to_json_text
from runner.tail import JsonTail
from tests.fuzz.mangled import (
    EXAMPLES,
    Edit,
    changed_fields,
    edits,
    fuzzed,
    json_values,
    mangle,
    read_or_refused,
)
from tests.unit.sample_run import write_run
from watchdog.config import WatchdogConfig
from watchdog.errors import TraceError
from watchdog.ledger import read_ledger, verdicts
from watchdog.records import RECORD_TYPES
from watchdog.replay import Replay
from watchdog.service import Service

#: Each writes pages of some megabytes, so there are fewer.
pages = settings(fuzzed, max_examples=max(3, EXAMPLES // 4))
FILES = ("job.yaml", "ledger.jsonl", "trace.jsonl", "result.json")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Return the files of a whole run by name, the trace cut to what its first 60 lines say."""
    folder = write_run(tmp_path_factory.mktemp("good"))
    found = {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}
    lines = found["trace.jsonl"].splitlines(keepends=True)
    found["trace.jsonl"] = b"".join(lines[:40] + lines[-20:])
    return found


def written(folder: Path, files: Mapping[str, bytes]) -> RunFolder:
    run = RunFolder(folder / "runs" / "r")
    run.path.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (run.path / name).write_bytes(data)
    return run


def shown(run: RunFolder) -> str:
    """Return what the commands that read a run print of it; none may raise."""
    out = io.StringIO()
    console = Console(file=out, width=100)
    status = read_status(run, t_s=0.0)
    show_status(console, status)
    show_list(console, [read_status(found, t_s=0.0) for found in list_runs(run.path.parent)])
    json.loads(to_json_text(status_json(status)))
    for line in log_lines(run, is_following=False, sleep=lambda _: None):
        out.write(line)
    for path in (run.ledger, run.trace):
        for _ in JsonTail(path, from_end=False).new_lines():
            pass
    return out.getvalue()


@pages
@given(st.data())
def test_damaged_files_of_a_run_are_shown(
    tmp_path: Path, good: Mapping[str, bytes], data: st.DataObject
) -> None:
    damaged = {name: mangle(good[name], data.draw(edits, name)) for name in good}
    run = written(tmp_path, damaged)
    shown(run)
    page = write_report(run.path).read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    compare_runs([run, run], tmp_path / "page.html")


@pages
@given(st.data())
def test_lines_with_any_values_are_shown_and_never_become_markup(
    tmp_path: Path, good: Mapping[str, bytes], data: st.DataObject
) -> None:
    files = dict(good)
    for name in ("ledger.jsonl", "trace.jsonl"):
        known = [json.loads(line) for line in good[name].splitlines()]
        lines: list[Any] = list(known)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(lines) - 1))
            lines[at] = data.draw(st.one_of(changed_fields(known[at]), json_values))
        files[name] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    run = written(tmp_path, files)
    shown(run)
    page = write_report(run.path).read_text(encoding="utf-8")
    scripts = re.findall(r"<script", page)
    assert scripts == re.findall(r"<script(?=>| type=| id=| src=)", page)
    compare_runs([run], tmp_path / "page.html")


@fuzzed
@given(edits)
def test_a_damaged_ledger_is_read_or_refused(
    tmp_path: Path, good: Mapping[str, bytes], changes: list[Edit]
) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(mangle(good["ledger.jsonl"], changes))
    with read_or_refused(path, TraceError):
        verdicts(read_ledger(path))


@fuzzed
@given(edits)
def test_a_damaged_trace_is_judged_or_refused(
    tmp_path: Path, good: Mapping[str, bytes], changes: list[Edit]
) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(mangle(good["trace.jsonl"], changes))
    with read_or_refused(path, TraceError):
        list(Replay(path, "trace", None))


@fuzzed
@given(st.data())
def test_a_trace_with_any_values_is_judged_or_refused(
    tmp_path: Path, good: Mapping[str, bytes], data: st.DataObject
) -> None:
    lines = [json.loads(line) for line in good["trace.jsonl"].splitlines()]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.sampled_from([lines[at]["kind"], *RECORD_TYPES]))
        lines[at] = {**data.draw(changed_fields(lines[at])), "kind": kind}
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with read_or_refused(path, TraceError):
        list(Replay(path, "trace", None))


@fuzzed
@given(edits, edits)
def test_a_watchdog_starts_from_damaged_files_or_refuses_and_loses_no_line(
    tmp_path: Path, good: Mapping[str, bytes], first: list[Edit], second: list[Edit]
) -> None:
    folder = written(tmp_path, good).path
    trace, ledger = folder / "trace.jsonl", folder / "ledger.jsonl"
    before = mangle(good["trace.jsonl"], first)
    trace.write_bytes(before)
    ledger.write_bytes(mangle(good["ledger.jsonl"], second))
    service: Service | None = None
    with contextlib.suppress(TraceError):
        service = Service(folder, WatchdogConfig())
    if service is not None:
        service.close()
    whole = before[: before.rfind(b"\n") + 1]
    assert trace.read_bytes().startswith(whole), "only a half-written last line may go"


@pytest.mark.parametrize("link", ["/etc/passwd", ".", "nowhere", "../r"])
def test_links_among_the_files_of_a_run_do_no_harm(
    tmp_path: Path, good: Mapping[str, bytes], link: str
) -> None:
    run = written(tmp_path, good)
    for name in ("ledger.jsonl", "result.json"):
        (run.path / name).unlink()
        (run.path / name).symlink_to(link)
    shown(run)  # to whoever may read what the link leads to; a report is given away
    assert "root:x:" not in write_report(run.path).read_text(encoding="utf-8")


def test_what_a_ledger_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    said = "\x1b]0;owned\x07\x1b[2J\x9b31m"
    lines = [
        {"t_s": 1.0, "kind": "run_started", "job": said, "max_steps": 1},
        {"t_s": 2.0, "kind": "verdict", "action": "halt", "reason": said},
        {"t_s": 2.5, "kind": said, "step": 1},
        {"t_s": 3.0, "kind": "run_ended", "state": said, "step": 1, "reason": said},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    run = written(tmp_path, {"job.yaml": b"name: x", "ledger.jsonl": text.encode()})
    assert "owned" in shown(run)
    assert {"\x1b", "\x07", "\x9b"}.isdisjoint(shown(run))
