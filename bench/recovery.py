"""How fast each tier of recovery is, against Ray Train's own restart, in one run of this file.

python -m bench.recovery [--json] [--repetitions 25] [--only regroup,replace]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STEPS = 400
#: Chosen: steps of some 10 ms; twenty thousand of them converge to nothing, which is not judged.
_LONG_STEPS = (
    "train.batch_size=1024 watchdog.detectors.spike.enabled=false "
    "watchdog.detectors.plateau.enabled=false watchdog.detectors.divergence.enabled=false"
)


def drilled(
    folder: Path, name: str, drill: str, *settings: str, steps: int = _STEPS
) -> list[dict[str, Any]]:
    """Run the template job with a drill; return its trace."""
    wanted = " ".join((f"train.max_steps={steps} watchdog.port=0", *settings))
    command = [sys.executable, "-m", "runner", "submit", "--job", "template", "--run", name]
    command += ["--no-preflight"]
    command += ["--runs-dir", str(folder), "--drill", drill, "--set", wanted]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return [json.loads(line) for line in (folder / name / "trace.jsonl").read_text().splitlines()]


def rollback_seconds(trace: list[dict[str, Any]]) -> dict[str, float]:
    """Return the seconds from the first bad step, and from the last old step, to the first new."""
    steps = [r for r in trace if r["kind"] == "step"]
    first_bad = min(r["t_s"] for r in steps if not r["is_finite"])
    last_old = max(r["t_s"] for r in steps if r["generation"] == 0)
    first_new = min((r["t_s"], r["step_s"]) for r in steps if r["generation"] == 1)
    [done] = [r for r in trace if r["kind"] == "rollback_done"]
    return {
        "first_bad_step_to_healthy_step_s": first_new[0] - first_bad,
        "last_step_to_healthy_step_s": first_new[0] - last_old,
        "agreement_to_restored_s": done["seconds"],
    }


def faults(name: str, count: int, every: int) -> str:
    """Return a drill of `count` faults, on both ranks in turn; each fifth strikes both at once."""
    parts = []
    for number in range(1, count + 1):
        parts.append(f"{name}@step={number * every},rank={number % 2}")
        if number % 5 == 0 and name == "exception":
            parts.append(f"{name}@step={number * every},rank={(number + 1) % 2}")
    return ";".join(parts)


def tier_seconds(trace: list[dict[str, Any]]) -> dict[str, list[tuple[float, int]]]:
    """Return for each tier, of each new attempt, the seconds it took and the steps it lost.

    The seconds are from the last step that any rank reported before to the first one after.
    """
    found: dict[str, list[tuple[float, int]]] = {}
    starts = {r["attempt"]: r for r in trace if r["kind"] == "attempt_started"}
    steps: dict[int, list[dict[str, Any]]] = {}
    for record in trace:
        if record["kind"] == "step":
            steps.setdefault(record["attempt"], []).append(record)
    for attempt, started in sorted(starts.items()):
        before = [a for a in steps if a < attempt]
        if started["tier"] is None or not before or attempt not in steps:
            continue
        last = max(steps[max(before)], key=lambda r: r["t_s"])
        newest = max(r["step"] for r in steps[max(before)])
        seconds = min(r["t_s"] for r in steps[attempt]) - last["t_s"]
        lost = newest - started["restored_step"]
        found.setdefault(started["tier"], []).append((seconds, lost))
    return found


def distribution(samples: Sequence[tuple[float, int]]) -> dict[str, float]:
    """Return the median, the ninetieth percentile and the extremes."""
    seconds = sorted(s for s, _ in samples)
    if not seconds:
        return {"count": 0}
    return {
        "count": len(seconds),
        "p50_s": statistics.median(seconds),
        "p90_s": seconds[min(len(seconds) - 1, int(0.9 * len(seconds)))],
        "max_s": seconds[-1],
        "steps_lost_max": max(lost for _, lost in samples),
    }


def ray_train_seconds(folder: Path, fault: str, times: int) -> list[tuple[float, int]]:
    """Return the same for Ray Train alone: its worker group restarted `times` times."""
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-m", "bench.ray_train_restart", str(folder), fault, str(times)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stamps = [float(line) for line in (folder / "steps.txt").read_text().split()]
    gaps = sorted(after - before for before, after in itertools.pairwise(stamps))
    return [(gap, 0) for gap in gaps[-times:]]


#: Of each tier: the fault, the steps between two, and the settings under which it answers. Chosen:
#: enough steps for an incident to close, and ten seconds for the next spare to come up.
_TIERS: Mapping[str, tuple[str, int, str]] = {
    "regroup": ("exception", 40, ""),
    "replace": ("kill", 60, ""),
    "spare": ("kill", 800, f"recovery.spares=1 {_LONG_STEPS}"),
    "restart": ("kill", 60, "recovery.replace=false recovery.regroup=false"),
}


def measure(repetitions: int, only: Sequence[str] = ()) -> dict[str, Any]:
    """Return every figure, of some tiers only if named, one after the other on this machine."""
    endless = "watchdog.policy.budgets.crash=100000"
    tiers: dict[str, list[tuple[float, int]]] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        ray_raise = ray_train_seconds(folder / "plain", "exception", 5)
        rollback = rollback_seconds(drilled(folder, "nan", "nan@step=200,count=5"))
        for name in only or _TIERS:
            fault, every, settings = _TIERS[name]
            drill = faults(fault, repetitions, every)
            steps = (repetitions + 2) * every
            trace = drilled(folder, name, drill, endless, settings, steps=steps)
            for tier, samples in tier_seconds(trace).items():
                tiers.setdefault(tier, []).extend(samples)
        ray_kill = ray_train_seconds(folder / "killed", "kill", 5)
    return figures(rollback, tiers, ray_raise, ray_kill)


def figures(
    rollback: dict[str, float],
    tiers: dict[str, list[tuple[float, int]]],
    ray_raise: list[tuple[float, int]],
    ray_kill: list[tuple[float, int]],
) -> dict[str, Any]:
    """Return the figures with what they are compared with: the same fault in Ray Train."""
    raised, killed = distribution(ray_raise), distribution(ray_kill)
    found = {tier: distribution(samples) for tier, samples in tiers.items()}
    against = {"regroup": raised, "spare": killed, "replace": killed, "restart": killed}
    speedups = {tier: against[tier]["p50_s"] / row["p50_s"] for tier, row in found.items()}
    return {
        "rollback": rollback,
        "rollback_speedup": raised["p50_s"] / rollback["last_step_to_healthy_step_s"],
        "tiers": found,
        "speedups": speedups,
        "ray_train_exception": raised,
        "ray_train_kill": killed,
        "t_s": time.time(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repetitions", type=int, default=25, help="faults of each tier")
    parser.add_argument("--only", help="tiers, comma-separated; default: all")
    args = parser.parse_args()
    found = measure(args.repetitions, args.only.split(",") if args.only else ())
    print(json.dumps(found) if args.json else json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
