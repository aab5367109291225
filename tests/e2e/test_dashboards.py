"""Every panel of every dashboard, asked of a real Prometheus that scraped a real, drilled run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

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


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Return a Prometheus that scrapes a run which was healed of a burst and a crash."""
    folder = tmp_path_factory.mktemp("drilled")
    runs = folder / "runs"
    (runs / ".prometheus").mkdir(parents=True)
    (folder / "targets").symlink_to(runs / ".prometheus")
    prometheus = Prometheus(folder, interval="1s")
    settings = "watchdog.port=0 train.max_steps=1000000 train.lr=0.001 train.threads=1"
    command = [sys.executable, "-m", "runner", "submit", "--job", "template", "--run", "drilled"]
    command += ["--no-preflight"]
    command += ["--workers", "0", "--runs-dir", str(runs), "--set", settings]
    # Slow at first: what happens before the first scrape is no increase of anything, and
    # Prometheus takes up discovered targets once in five seconds.
    drill = "slow@step=1,count=40,factor=120;spike@step=200,factor=50;nan@step=300,count=5"
    command += ["--drill", f"{drill};exception@step=600"]
    run = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: prometheus.query("training_step") != [], "the first scrape", 60.0)
        first = prometheus.value("min_over_time(training_step[10m])")
        assert first is not None
        assert first < 200, "the faults struck before the first scrape; let the drill be slower"
        restarted = 'training_run_restarts_total{reason="crash"} == 1'
        wait_until(lambda: prometheus.query(restarted) != [], "the drills are healed", 120.0)
        healed = f"({restarted}) and on (run) (training_step > 900)"
        wait_until(lambda: prometheus.query(healed) != [], "the run goes on", 120.0)
        suspected = 'increase(training_suspicions_total{cause="spike"}[10m]) > 0'
        wait_until(lambda: prometheus.query(suspected) != [], "the spike is seen")
        badput = "training_job_run:training_badput_per_time:ratio_rate1h"
        wait_until(lambda: prometheus.query(badput) != [], "the rules are evaluated")
        yield prometheus
    finally:
        run.terminate()
        run.wait(timeout=60)
        prometheus.close()


def test_every_panel_shows_data_of_a_drilled_run(drilled: Prometheus) -> None:
    empty = []
    for where, expr in panels():
        values = [float(row["value"][1]) for row in drilled.query(expr)]
        if not values or not all(map(math.isfinite, values)):
            empty.append(where)
    assert empty == []
    incidents = drilled.query("training_incidents_total > 0")
    assert {row["metric"]["cause"] for row in incidents} == {"nonfinite", "crash"}


def test_goodput_adds_up_to_the_wall_time_of_the_run(drilled: Prometheus) -> None:
    # Both sides are of one scrape; what rank 0 has not explained yet is left out of the sum.
    wall = "training_last_record_timestamp_seconds - training_run_start_timestamp_seconds"
    told = "sum without (category) (training_time_seconds_total)"

    def is_whole() -> bool:
        ratio = drilled.value(f"{told} / ({wall})")
        return ratio is not None and 0.99 <= ratio <= 1.01

    wait_until(is_whole, "the categories add up within 1 %")


Rows = set[frozenset[tuple[str, str]]]


def rows(found: list[dict[str, Any]], *but: str) -> Rows:
    """Return the label sets of an answer, without the labels named."""
    return {frozenset((k, v) for k, v in row["metric"].items() if k not in but) for row in found}


def test_grafana_would_fire_what_prometheus_does(drilled: Prometheus) -> None:
    rendered = files()["deploy/grafana/alerting-without-alertmanager/rules.yaml"]
    (group,) = yaml.safe_load(rendered)["groups"]
    ours = {"alertname", "alertstate", "severity", "component", "__name__"}
    fired = set()
    for rule in group["rules"]:
        expression, grouped, threshold = (step["model"] for step in rule["data"])
        assert threshold["expression"] == grouped["refId"]
        asked = f'ALERTS{{alertname="{rule["title"]}"}}'

        def agree(a: str = expression["expr"], b: str = grouped["expr"], twin: str = asked) -> bool:
            # Both are asked again until they agree: an evaluation may lie between the queries.
            of_a, of_b = drilled.query(a), drilled.query(b)
            assert {row["value"][1] for row in of_b} <= {"1"}, "what a threshold of 0 sees"
            told = rows(drilled.query(twin), *ours)
            return rows(of_a, *ours) == rows(of_b, *ours) == told

        wait_until(agree, f"Grafana's {rule['title']} is the same as Prometheus's")
        if drilled.query(expression["expr"]):
            fired.add(rule["title"])
    assert "TrainingIncidentOpened" in fired
