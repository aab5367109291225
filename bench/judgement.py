"""How good the verdicts are: real labelled logs, faults put into healthy ones, and other rules.

Writes docs/JUDGEMENT.md: hits, latency, and false alarms by record and by run, for both halves of
the sources. One core, a few minutes.

    python -m bench.judgement [--traces FOLDER] [--out docs/JUDGEMENT.md] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.injections import FAULTS, HEALING, inject
from bench.judgement_page import page
from bench.peer_rules import PEERS
from bench.real_logs import ACTIONABLE, Log, read_logs, records
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.foreign import Row
from watchdog.records import LedgerKind, Record, Verdict

OURS = "Watchkeeper"
_ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Judge everything; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.judgement")
    parser.add_argument("--traces", type=Path, default=_ROOT.parent / "shared" / "traces")
    parser.add_argument("--out", type=Path, default=_ROOT / "docs" / "JUDGEMENT.md")
    parser.add_argument("--json", action="store_true", help="print the numbers, write nothing")
    options = parser.parse_args()
    if not (options.traces / "manifest.csv").is_file():
        print(
            f"no manifest.csv in {options.traces}; the labelled logs are not part of the "
            "repository; name their folder with --traces",
            file=sys.stderr,
        )
        return 2
    logs = read_logs(options.traces)
    result = {
        "real": [_real(log) for log in logs],
        "injected": [line for log in logs for line in _injected(log)],
        "cost_us": _cost_us(logs),
    }
    if options.json:
        print(json.dumps(result))
    else:
        options.out.write_text(page(result), encoding="utf-8")
        print(f"written to {options.out}")
    return 0


def _real(log: Log) -> dict[str, Any]:
    """Return the alarms on a log as (number of the row, step) by rule, and what it is."""
    ours, suspects = judge(records(log))
    alarms = {OURS: ours, **{name: rule(log.rows) for name, rule in PEERS.items()}}
    onset = _row_of(log.rows, log.onset_step)
    return {
        "id": log.id,
        "half": log.half,
        "label": log.label,
        "certainty": log.certainty,
        "is_excerpt": log.is_excerpt,
        "is_actionable": log.label in ACTIONABLE,
        "records": len(log.rows),
        "suspects": suspects,
        "alarms": {name: len(found) for name, found in alarms.items()},
        "early": {name: sum(at < onset for at in found) for name, found in alarms.items()},
        "latency": {name: _latency(found, onset) for name, found in alarms.items()},
    }


def _injected(log: Log) -> Iterable[dict[str, Any]]:
    """Yield one line for each fault put into a healthy log."""
    if log.label != "healthy" or log.is_excerpt:
        return
    for fault in FAULTS:
        case = inject(fault, log.rows, log.id)
        if case is None:
            continue
        ours, _ = judge(records(log, case.rows))
        alarms = {OURS: ours, **{name: rule(case.rows) for name, rule in PEERS.items()}}
        yield {
            "id": log.id,
            "half": log.half,
            "fault": fault,
            "is_actionable": fault not in HEALING,
            "is_visible": case.is_visible,
            "latency": {name: _latency(found, case.onset) for name, found in alarms.items()},
        }


def judge(source: Iterable[Record]) -> tuple[list[int], int]:
    """Return the rows at which we would have acted, and how many suspicions were told."""
    core = Core(WatchdogConfig(mode="observe"))
    acts, suspects = [], 0
    for record in source:
        for conclusion in core.observe(record):
            if isinstance(conclusion, Verdict):
                acts.append(max(0, round(record.t_s) - 1))
            elif conclusion.kind is LedgerKind.SUSPECT and conclusion.data["status"] == "open":
                suspects += 1
    return acts, suspects


def _row_of(rows: Sequence[Row], step: int) -> int:
    """Return the number of the first row at or past a step."""
    return next((i for i, row in enumerate(rows) if (row.step or 0) >= step), 0)


def _latency(alarms: Sequence[int], onset: int) -> int | None:
    """Return the records from the onset to the first alarm at or after it; None for none."""
    return next((at - onset for at in sorted(alarms) if at >= onset), None)


def _cost_us(logs: Sequence[Log]) -> float:
    """Return the processor time of a record in microseconds, on the longest step-level log."""
    longest = max(logs, key=lambda log: len(log.rows) * (log.label == "healthy"))
    listed = list(records(longest))
    core = Core(WatchdogConfig(mode="observe"))
    start = time.process_time()
    for record in listed:
        core.observe(record)
    return (time.process_time() - start) / len(listed) * 1e6


if __name__ == "__main__":
    sys.exit(main())
