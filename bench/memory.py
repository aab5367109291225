"""What the watchdog holds after a hundred thousand, a million and ten million records.

Feeds a healthy run to the judging half and looks at the process between decades; ten minutes or
so for ten million. Memory that grows with the run would show between the last two.

    python -m bench.memory [--ranks 8] [--records 10000000] [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType

from bench.healthy_run import start, steps
from bench.yardstick import loop_ns
from watchdog.config import WatchdogConfig
from watchdog.core import Core

_PAGE_BYTES = 4096
_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType)


def main() -> None:
    """Feed, look, and print one line a decade."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(options.ranks, options.records)
    if options.json:
        print(json.dumps({"ranks": options.ranks, "rows": rows}))
        return
    for row in rows:
        print(
            f"{row['records']:>11,} records  resident {row['resident_mb']:7.1f} MB  of Python, in "
            f"the watchdog {row['held_mb']:6.2f} MB  {row['cpu_us']:5.1f} us a record  "
            f"conclusions {row['conclusions']}"
        )


def measure(ranks: int, records: int) -> list[dict[str, float]]:
    """Return one row a decade from 10^5 on, `records` being the last."""
    core = Core(WatchdogConfig())
    source = chain(start(ranks), steps(ranks))
    rows: list[dict[str, float]] = []
    done = conclusions = 0
    spent_s = 0.0
    goals = [10**power for power in range(5, 12) if 10**power < records]
    for goal in [*goals, records]:
        while done < goal:
            batch = list(islice(source, min(10_000, goal - done)))
            begun_s = time.process_time()
            for record in batch:
                conclusions += len(core.observe(record))
            spent_s += time.process_time() - begun_s
            done += len(batch)
        rows.append(
            {
                "records": done,
                "resident_mb": _resident_mb(),
                "held_mb": _held_mb(core),
                "cpu_us": spent_s / done * 1e6,
                "loop_ns": loop_ns(),
                "conclusions": conclusions,
            }
        )
    return rows


def _resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * _PAGE_BYTES / 1e6


def _held_mb(core: Core) -> float:
    """Return the size of everything that can be reached from the core and is not code."""
    seen: set[int] = set()
    waiting: list[object] = [core]
    total = 0
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, _CODE):
            continue
        seen.add(id(found))
        total += sys.getsizeof(found)
        referents: Iterable[object] = gc.get_referents(found)
        waiting.extend(referents)
    return total / 1e6


if __name__ == "__main__":
    main()
