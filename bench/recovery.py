"""How fast a NaN burst and a lost worker are healed, against Ray Train's own restart, in one run.

python -m bench.recovery [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_STEPS = 400


def drilled(folder: Path, name: str, drill: str) -> list[dict[str, Any]]:
    """Run the template job with a drill; return its trace."""
    settings = f"train.max_steps={_STEPS} watchdog.port=0"
    command = [sys.executable, "-m", "runner", "submit", "--job", "template", "--run", name]
    command += ["--runs-dir", str(folder), "--drill", drill, "--set", settings]
    command += ["--no-preflight"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
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


def restart_seconds(trace: list[dict[str, Any]]) -> float:
    """Return the seconds from the last step before the loss to the first step after it."""
    steps = [r for r in trace if r["kind"] == "step"]
    last = max(r["t_s"] for r in steps if r["attempt"] == 0)
    return float(min(r["t_s"] for r in steps if r["attempt"] == 1) - last)


def ray_train_restart_seconds(folder: Path) -> float:
    """Return the same for Ray Train alone: its worker group restarted after an exception."""
    subprocess.run(
        [sys.executable, "-m", "bench.ray_train_restart", str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    times = [float(line) for line in (folder / "steps.txt").read_text().split()]
    return max(after - before for before, after in itertools.pairwise(times))


def measure() -> dict[str, Any]:
    """Return every figure, measured one after the other on this machine."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        rollback = rollback_seconds(drilled(folder, "nan", "nan@step=200,count=5"))
        killed = restart_seconds(drilled(folder, "kill", "kill@step=200,rank=1"))
        ray_train = ray_train_restart_seconds(folder)
    return {
        "rollback": rollback,
        "kill_to_first_step_s": killed,
        "ray_train_exception_to_first_step_s": ray_train,
        "rollback_speedup": ray_train / rollback["last_step_to_healthy_step_s"],
        "kill_speedup": ray_train / killed,
        "t_s": time.time(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measure()
    print(json.dumps(found) if args.json else json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
