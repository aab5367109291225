"""Measures what the goals name and writes docs/BENCHMARKS.md: `make bench`.

python -m bench [--data FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PAGE = Path("docs/BENCHMARKS.md")


def run(module: str, *arguments: str) -> dict[str, Any]:
    """Return the figures of one benchmark, run in a process of its own."""
    command = [sys.executable, "-m", module, *arguments, "--json"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def overhead_row(found: dict[str, Any]) -> str:
    """Return a table row of one overhead measurement."""
    low, high = found["extra_us_quartiles"]
    return (
        f"| {found['job']} | {found['ranks']} | {found['bare_step_us']:.0f} | "
        f"{found['extra_us']:.0f} [{low:.0f}, {high:.0f}] | {found['extra_ratio']:.2%} |"
    )


def tier_row(recovery: dict[str, Any], tier: str) -> str:
    """Return a table row of one tier."""
    found = recovery["tiers"].get(tier)
    fault = "exception" if tier == "regroup" else "SIGKILL"
    if found is None:
        return f"| {tier} | {fault} | 0 | | | | | |"
    return (
        f"| {tier} | {fault} | {found['count']} | {found['p50_s']:.3f} | {found['p90_s']:.3f} | "
        f"{found['max_s']:.3f} | {found['steps_lost_max']} | {recovery['speedups'][tier]:.1f} |"
    )


def ray_row(fault: str, found: dict[str, Any]) -> str:
    """Return a table row of Ray Train alone."""
    return (
        f"| Ray Train alone | {fault} | {found['count']} | {found['p50_s']:.3f} | "
        f"{found['p90_s']:.3f} | {found['max_s']:.3f} | | 1 |"
    )


def cost_row(found: dict[str, Any]) -> str:
    """Return a table row of what judging a record costs."""
    return (
        f"| {found['ranks']} | {found['record_us']:.1f} | {found['loop_ns']:.1f} | "
        f"{found['ratio']:.0f} |"
    )


def memory_row(found: dict[str, Any]) -> str:
    """Return a table row of what the watchdog holds after so many records."""
    return (
        f"| {found['records']:,} | {found['held_mb']:.2f} | {found['resident_mb']:.0f} | "
        f"{found['conclusions']} |"
    )


def overhead(data: Sequence[str]) -> str:
    """Return the section on what a step pays."""
    vesuvius = ("--job", "vesuvius", "--steps", "20", *data)
    rows = [
        run("bench.overhead", "--ranks", "1", "--blocks", "30", "--steps", "200"),
        run("bench.overhead", "--ranks", "2", "--blocks", "20", "--steps", "200"),
        run("bench.overhead", "--ranks", "1", *vesuvius),
        run("bench.overhead", "--ranks", "2", *vesuvius),
    ]
    return f"""
`python -m bench.overhead`: a bare loop against the session's in alternating blocks. With 2 ranks
the watchdog runs on the same {os.cpu_count()} cores as the ranks; with 1 rank it answers at once,
which leaves what the training process itself pays. Quartiles in brackets.

| job | ranks | bare step, us | extra, us | share |
|---|---|---|---|---|
{chr(10).join(map(overhead_row, rows))}
"""


def recovery() -> str:
    """Return the section on how fast a run is healed."""
    found = run("bench.recovery")
    rollback = found["rollback"]
    tiers = ("regroup", "spare", "replace", "restart")
    return f"""
`python -m bench.recovery`: the template job on two workers (steps of about 2 ms), against Ray
Train's own restart of a two-worker group after the same fault, one after the other.

| what | seconds | Ray Train's restart / this |
|---|---|---|
| NaN burst: last step before the rollback to the first healthy step | \
{rollback["last_step_to_healthy_step_s"]:.3f} | {found["rollback_speedup"]:.0f} |
| of which: ranks agreed to state restored | {rollback["agreement_to_restored_s"]:.4f} | |
| NaN burst: first bad step to the first healthy step | \
{rollback["first_bad_step_to_healthy_step_s"]:.3f} | |

Restarts by tier (docs/RECOVERY.md): last step before the fault to the first step after it, on two
ranks, against the median of Ray Train's own restart after the same fault.

| tier | fault | count | p50, s | p90, s | max, s | steps lost at most | Ray Train's / this |
|---|---|---|---|---|---|---|---|
{chr(10).join(tier_row(found, tier) for tier in tiers)}
{ray_row("exception", found["ray_train_exception"])}
{ray_row("kill", found["ray_train_kill"])}
"""


def cost() -> str:
    """Return the section on the processor time of a record."""
    return f"""
`python -m bench.cost`: processor time of one record on a healthy run, all detectors, policy and
ledger lines included; and the same in rounds of a plain loop, because machines differ.

| ranks | us a record | a round of the loop, ns | ratio |
|---|---|---|---|
{chr(10).join(map(cost_row, run("bench.cost")["rows"]))}
"""


def memory() -> str:
    """Return the section on what the watchdog holds."""
    found = run("bench.memory", "--records", "1000000")
    return f"""
`python -m bench.memory` ({found["ranks"]} ranks; ten million records with `--records 10000000`):
what can be reached from the watchdog's state, and the whole process, after so many records.

| records | state, MB | process, MB | conclusions |
|---|---|---|---|
{chr(10).join(map(memory_row, found["rows"]))}
"""


def scale() -> str:
    """Return the section on a large run."""
    found = run("bench.scale", "--seconds", "20")
    return f"""
`python -m bench.scale`: {found["ranks"]:,} ranks that report each second, one by one, to a service
with its files.

| what | measured |
|---|---|
| processor time a second of the run, s: median, largest | {found["cpu_s_a_second_median"]:.2f}, \
{found["cpu_s_a_second_max"]:.2f} |
| record to answer, ms: 99 of 100, largest | {found["call_ms_p99"]:.2f}, \
{found["call_ms_max"]:.0f} |
| record to verdict on disk, ms: wall, processor | {found["record_to_verdict_ms"]:.0f}, \
{found["record_to_verdict_cpu_ms"]:.0f} |
| order to each rank after the verdict, bytes | {found["order_bytes"]} |
| scrape, ms: wall, processor | {found["scrape_ms_median"]:.0f}, \
{found["scrape_cpu_ms_median"]:.0f} |
"""


def head() -> str:
    """Return the beginning of the page."""
    return f"""# Benchmarks

Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, \
{platform.machine()}, Python {platform.python_version()}, CPU only. Machines are noisy: compare
within a row, not across days. How well it judges is in [JUDGEMENT.md](JUDGEMENT.md) (`python -m
bench.judgement`), what is left of the metric after each fault in [DRILLS.md](DRILLS.md) (`python -m
bench.rescue`): both take too long to be parts of this.
"""


def main() -> int:
    """Measure everything and write the page; return 1 if a part could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="data folder of the vesuvius job; else generated volumes")
    args = parser.parse_args()
    data = ["--data", args.data] if args.data else []
    sections: Mapping[str, Callable[[], str]] = {
        "What a step pays": lambda: overhead(data),
        "How fast a run is healed": recovery,
        "What judging a record costs": cost,
        "What the watchdog holds": memory,
        "Ten thousand ranks": scale,
    }
    text, failed = head(), False
    for title, measure in sections.items():
        print(f"{datetime.now(UTC):%H:%M:%S} {title}", file=sys.stderr, flush=True)
        try:
            text += f"\n## {title}\n{measure()}"
        except subprocess.CalledProcessError as error:
            failed = True
            text += f"\n## {title}\n\nNot measured: `{' '.join(error.cmd[1:])}` failed.\n"
            print(f"{title}: {error}", file=sys.stderr)
    _PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {_PAGE}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
