"""The rescue rate: each fault of the catalogue in each of the five jobs, against the untouched run.

A run is rescued when it finishes by itself and its last validation is no more than two percent
below that of the untouched run. Runs are short, so a lowered rate costs more of the metric here
than in a whole training.

python -m bench.rescue [--jobs orion] [--only nan,kill] [--steps 200] [--workers 2] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.drill_day import run_command
from runner.drill_nodes import small_cluster

JOBS = ("vesuvius", "bigearthnet", "orion", "adaptivestream", "sustainability")
#: Faults by name; `{}` is the step they strike at. The second group needs worker processes.
ANYWHERE: Mapping[str, str] = {
    "nan": "nan@step={},count=5",
    "nan_weights": "nan_weights@step={}",
    "nan_batch": "nan_batch@step={},count=4",
    "spike": "spike@step={},count=2",
    "lr": "lr@step={},factor=100",
    "exception": "exception@step={}",
    "slow": "slow@step={},count=5",
    "oom": "oom@step={}",
    "kill_driver": "kill_driver@step={}",
    "corrupt_checkpoint": "corrupt_checkpoint@step={0};exception@step={0}",
    "disk_full": "disk_full@step={},count=20",
}
OF_WORKERS: Mapping[str, str] = {
    "kill": "kill@step={},rank=1",
    "hang": "hang@step={},rank=1",
    "kill_watchdog": "kill_watchdog@step={}",
}
_SHARE = 0.98
#: Chosen: late enough that a run has learned something, and early enough that it can go on.
_AT = 0.4
#: Chosen: the slowest job takes some two minutes for its hundred steps on two cores.
_MOST_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run; `metric` is its last validation's (higher is better), None without one."""

    job: str
    fault: str
    state: str
    metric: float | None
    ratio: float | None
    steps_lost: int | None
    is_rescued: bool


def drilled(folder: Path, job: str, fault: str, drill: str, arguments: Sequence[str]) -> Path:
    """Run a job under a drill, and resume it when its driver was killed; return its folder."""
    name = f"{job}-{fault}"
    command = ["submit", "--no-preflight", "--job", job, "--run", name, *arguments]
    command += ["--runs-dir", str(folder), *(["--drill", drill] if drill else [])]
    with (folder / f"{name}.log").open("w") as log:
        code = run_command(command, os.environ, log, _MOST_S)
        if code < 0:
            resume = ["resume", name, "--runs-dir", str(folder)]
            run_command(resume, os.environ, log, _MOST_S)
    return folder / name


def read_row(run: Path, job: str, fault: str, untouched: float | None) -> Row:
    """Return the row of a run that ended, or died without a result."""
    result: dict[str, Any] = {}
    with contextlib.suppress(OSError):
        result = json.loads((run / "result.json").read_text())
    metric = _last_metric(run / "trace.jsonl")
    ratio = None if metric is None or not untouched else metric / untouched
    state = str(result.get("state", "lost"))
    return Row(
        job=job,
        fault=fault,
        state=state,
        metric=metric,
        ratio=ratio,
        steps_lost=result.get("steps_lost"),
        is_rescued=state == "finished" and ratio is not None and ratio >= _SHARE,
    )


def _last_metric(trace: Path) -> float | None:
    found = None
    with contextlib.suppress(OSError):
        for line in trace.read_text().splitlines():
            record = json.loads(line)
            if record["kind"] == "eval" and record["val_metric"] is not None:
                found = float(record["val_metric"])
    return found


def measure(jobs: Sequence[str], only: Sequence[str], steps: int, workers: int) -> Iterator[Row]:
    """Yield the rows, the untouched run of each job first."""
    faults = {**ANYWHERE, **(OF_WORKERS if workers else {})}
    faults = {name: drill for name, drill in faults.items() if not only or name in only}
    wanted = (
        f"train.max_steps={steps} train.eval_every_steps={max(steps // 5, 1)} watchdog.port=0 "
        f"train.warmup_steps={steps // 10} checkpoints.every_steps={max(steps // 10, 1)} "
        "checkpoints.memory_every_steps=4 watchdog.detectors.hang.min_s=5"
    )
    arguments = ["--workers", str(workers), "--set", wanted]
    with tempfile.TemporaryDirectory() as folder, _cluster(workers):
        for job in jobs:
            bare = drilled(Path(folder), job, "untouched", "", arguments)
            metric = _last_metric(bare / "trace.jsonl")
            yield read_row(bare, job, "untouched", metric)
            for fault, drill in faults.items():
                struck = drill.format(int(steps * _AT))
                run = drilled(Path(folder), job, fault, struck, arguments)
                yield read_row(run, job, fault, metric)


@contextlib.contextmanager
def _cluster(workers: int) -> Iterator[None]:
    if not workers:
        yield
        return
    with small_cluster((4,)) as environment:
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return how many drilled runs there were, and what became of them."""
    drilled_rows = [row for row in rows if row.fault != "untouched"]
    return {
        "count": len(drilled_rows),
        "rescued": sum(row.is_rescued for row in drilled_rows),
        "finished": sum(row.state == "finished" for row in drilled_rows),
        "steps_lost_max": max((row.steps_lost or 0 for row in drilled_rows), default=0),
        "rows": [asdict(row) for row in rows],
    }


def main() -> None:
    """Print the rows as they come, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--only", help="faults, comma-separated; default: all")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    only = arguments.only.split(",") if arguments.only else []
    jobs = arguments.jobs.split(",")
    for row in measure(jobs, only, arguments.steps, arguments.workers):
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    found = summary(rows)
    if arguments.json:
        print(json.dumps(found))
    else:
        print(f"{found['rescued']} of {found['count']} rescued, {found['finished']} finished")


if __name__ == "__main__":
    main()
