"""Whether one watchdog keeps up with ten thousand ranks that report each second.

Plays some seconds of such a run into a service with its files: every rank sends its own report, in
any order; then all losses turn NaN, and the time from the record to the verdict on disk is taken.
The seconds are not waited for: what counts is the processor time that one of them costs, and on a
machine with other work to do the `cpu` of a figure says more than its wall time. Calls
arrive one after another, without the cluster's own cost of a message.

    python -m bench.scale [--ranks 10000] [--seconds 40] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import random
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from bench.healthy_run import start, steps
from bench.yardstick import loop_ns
from watchdog.config import WatchdogConfig
from watchdog.exporter import Exporter
from watchdog.records import Action, Record, StepReport
from watchdog.service import Service

#: Enough that slow detectors have had their turn before anything goes wrong.
_BAD_SECONDS = 4


def main() -> None:
    """Play, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.ranks, options.seconds)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:32} {value:,.4g}" if isinstance(value, float) else f"{name:32} {value}")


def measure(ranks: int, seconds: int) -> dict[str, Any]:
    """Return the figures of one run."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), WatchdogConfig())
        exporter = Exporter(service.snapshot, "127.0.0.1", 0)
        try:
            found = _play(service, exporter.port, ranks, seconds)
            found["trace_bytes_a_record"] = (Path(folder) / "trace.jsonl").stat().st_size / (
                ranks * (seconds + _BAD_SECONDS)
            )
        finally:
            exporter.close()
            service.close()
    return found


def _play(service: Service, port: int, ranks: int, seconds: int) -> dict[str, Any]:
    rng = random.Random(1)
    service.exchange(list(start(ranks)))
    source = (record for record in steps(ranks) if isinstance(record, StepReport))
    calls_ms: list[float] = []
    cpu_s: list[float] = []
    scrapes_ms: list[float] = []
    scrapes_cpu_ms: list[float] = []
    verdict: tuple[float, float, int] | None = None
    for second in range(seconds + _BAD_SECONDS):
        reports: list[StepReport] = list(islice(source, ranks))
        if second >= seconds:
            reports = [replace(r, loss=math.nan, is_finite=False) for r in reports]
        rng.shuffle(reports)
        begun_s = time.process_time()
        found = _send(service, reports, calls_ms)
        cpu_s.append(time.process_time() - begun_s)
        verdict = verdict or found
        begun_s = time.process_time()
        scrapes_ms.append(_scrape(port))
        scrapes_cpu_ms.append((time.process_time() - begun_s) * 1e3)
    return {
        "ranks": ranks,
        "cpu_s_a_second_median": statistics.median(cpu_s),
        "cpu_s_a_second_max": max(cpu_s),
        "call_ms_p99": _quantile(calls_ms, 0.99),
        "call_ms_max": max(calls_ms),
        "record_to_verdict_ms": verdict[0] if verdict else None,
        "record_to_verdict_cpu_ms": verdict[1] if verdict else None,
        "order_bytes": verdict[2] if verdict else None,
        "scrape_ms_median": statistics.median(scrapes_ms),
        "scrape_ms_max": max(scrapes_ms),
        "scrape_cpu_ms_median": statistics.median(scrapes_cpu_ms),
        "loop_ns": loop_ns(),
    }


def _send(
    service: Service, reports: Sequence[Record], calls_ms: list[float]
) -> tuple[float, float, int] | None:
    """Hand the reports over one by one; return what is to be known of the call with a verdict.

    That is its wall and processor ms, and the bytes of the order that every rank is now sent.
    """
    told: tuple[float, float, int] | None = None
    for report in reports:
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        order = service.exchange([report])
        calls_ms.append((time.perf_counter() - begun_s) * 1e3)
        verdict = order.verdict if order is not None else None
        if told is None and verdict is not None and verdict.action is Action.ROLLBACK:
            cpu_ms = (time.process_time() - begun_cpu_s) * 1e3
            told = calls_ms[-1], cpu_ms, len(pickle.dumps(order))
    return told


def _scrape(port: int) -> float:
    begun_s = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        answer.read()
    return (time.perf_counter() - begun_s) * 1e3


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    main()
