"""What judging a record costs, in processor time and in rounds of a plain loop of Python.

Machines differ and are shared: the ratio to a loop that runs in the same process is what can be
compared. Gate, assembly, signals, detectors, policy, trust, goodput and ledger lines are in it;
files are not.

    python -m bench.cost [--records 40000] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import chain, islice

from bench.healthy_run import start, steps
from bench.yardstick import loop_ns
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.records import Record

_RANKS = (1, 8)
_REPEATS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(ranks, options.records) for ranks in _RANKS]
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    for row in rows:
        print(
            f"{row['ranks']} ranks: {row['record_us']:.1f} us a record, {row['ratio']:.0f} rounds "
            f"of a loop of {row['loop_ns']:.1f} ns"
        )


def measure(ranks: int, records: int) -> dict[str, float]:
    """Return the cost on a healthy run of so many ranks; the best of three."""
    listed = list(islice(chain(start(ranks), steps(ranks)), records))
    loop = loop_ns()
    record_us = min(_once(listed) for _ in range(_REPEATS)) / records * 1e6
    loop = min(loop, loop_ns())
    return {
        "ranks": ranks,
        "records": records,
        "record_us": record_us,
        "loop_ns": loop,
        "ratio": record_us * 1e3 / loop,
    }


def _once(records: list[Record]) -> float:
    core = Core(WatchdogConfig())
    begun_s = time.process_time()
    for record in records:
        core.observe(record)
    return time.process_time() - begun_s


if __name__ == "__main__":
    main()
