"""Every panel of every dashboard, asked of a real Prometheus that scraped a real, drilled run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.generate import files
from tests.e2e.servers import REPOSITORY, Prometheus, wait_until

pytestmark = pytest.mark.server


def panels() -> Iterator[tuple[str, str]]:
    """Yield what a panel is and its PromQL, as Grafana would send it with everything chosen."""
    for name, text in files().items():
        if "grafana/dashboards/" not in name:
            continue
        board = json.loads(text)
        for panel in board["panels"]:
            for target in panel["targets"]:
                expr = target["expr"].replace("$__rate_interval", "30s")
                for variable in ("$training_job", "$run"):
                    expr = expr.replace(variable, ".*")
                if not target.get("instant"):  # a curve: some point of it
                    expr = f"last_over_time(({expr})[10m:1s])"
                yield f"{board['title']}: {panel['title']}: {target['expr']}", expr


def test_every_panel_shows_data_of_a_drilled_run(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / ".prometheus").mkdir(parents=True)
    (tmp_path / "targets").symlink_to(runs / ".prometheus")
    prometheus = Prometheus(tmp_path, interval="1s")
    settings = "watchdog.port=0 train.max_steps=1000000 train.lr=0.001 train.threads=1"
    command = [sys.executable, "-m", "runner", "submit", "--job", "template", "--run", "drilled"]
    command += ["--no-preflight"]
    command += ["--workers", "0", "--runs-dir", str(runs), "--set", settings]
    # Slow at first: what happens before the first scrape is no increase of anything.
    drill = "slow@step=1,count=40,factor=30;spike@step=200,factor=50;nan@step=300,count=5"
    command += ["--drill", f"{drill};exception@step=600"]
    run = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        restarted = 'training_run_restarts_total{reason="crash"} == 1'
        wait_until(lambda: prometheus.query(restarted) != [], "the drills are healed", 120.0)
        healed = f"({restarted}) and on (run) (training_step > 900)"
        wait_until(lambda: prometheus.query(healed) != [], "the run goes on", 120.0)
        suspected = 'increase(training_suspicions_total{cause="spike"}[10m]) > 0'
        wait_until(lambda: prometheus.query(suspected) != [], "the spike is seen")
        badput = "training_job_run:training_badput_per_time:ratio_rate1h"
        wait_until(lambda: prometheus.query(badput) != [], "the rules are evaluated")
        empty = []
        for where, expr in panels():
            values = [float(row["value"][1]) for row in prometheus.query(expr)]
            if not values or not all(map(math.isfinite, values)):
                empty.append(where)
        assert empty == []
        incidents = prometheus.query("training_incidents_total > 0")
        assert {row["metric"]["cause"] for row in incidents} == {"nonfinite", "crash"}
    finally:
        run.terminate()
        run.wait(timeout=60)
        prometheus.close()
