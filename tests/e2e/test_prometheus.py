"""A real Prometheus finds a run by its file, reads its numbers, and sees them go at the end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.servers import CONFIG, REPOSITORY, Prometheus, get, need, wait_until
from tests.unit import sample_run
from watchdog.discovery import list_run, write_file_sd
from watchdog.exporter import Exporter
from watchdog.goodput import Accountant
from watchdog.metrics import CATALOGUE
from watchdog.records import Cause
from watchdog.snapshot import RankView, Snapshot

pytestmark = pytest.mark.server


def full_snapshot() -> Snapshot:
    """Return what the watchdog would know in the middle of the sample run."""
    accountant = Accountant()
    for record in sample_run.records():
        accountant.observe(record)
    now_s = 1_700_000_000.0
    return Snapshot(
        run_id="sample",
        job="vesuvius",
        state="running",
        step=160,
        max_steps=200,
        world_size=2,
        attempt=1,
        started_t_s=now_s - 100,
        loss=0.31,
        loss_baseline=0.32,
        loss_threshold=0.5,
        grad_norm=0.6,
        lr=0.001,
        lr_scale=0.5,
        epoch=1.5,
        val_loss=0.35,
        val_metric=0.75,
        best_val_metric=0.76,
        last_record_t_s=now_s,
        last_step_t_s=now_s,
        last_tick_t_s=now_s,
        ranks={r: RankView(step=160, last_t_s=now_s, step_s=0.5 + 0.1 * r) for r in (0, 1)},
        steps_total=174,
        steps_lost=14,
        steps_skipped=3,
        incidents={Cause.NONFINITE: 1, Cause.CRASH: 1},
        rollbacks=1,
        restarts={"crash": 1},
        verdicts={"rollback": 1, "restart": 1},
        checkpoint_step=160,
        checkpoint_t_s=now_s,
        checkpoint_interval_s=10.0,
        checkpoint_seconds=0.2,
        checkpoint_size_bytes=12_345_678,
        trusted_step=144,
        time_s=accountant.time_s(),
        goodput_ratio=accountant.ratio(),
        goodput_objective=0.9,
        hang_timeout_s=120.0,
        records_total=400,
    )


class Run:
    """The snapshot and the clock behind an exporter, set by the test."""

    def __init__(self) -> None:
        self.snapshot = full_snapshot()
        self.now_s = 0.0


@pytest.fixture
def run() -> Run:
    return Run()


@pytest.fixture
def exporter(run: Run) -> Iterator[Exporter]:
    served = Exporter(
        lambda: run.snapshot, port=0, run="sample", clock=lambda: run.now_s, grace_s=60.0
    )
    yield served
    served.close()


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    (tmp_path / "targets").mkdir()
    server = Prometheus(tmp_path)
    yield server
    server.close()


def test_a_run_is_found_read_and_forgotten(
    prometheus: Prometheus, exporter: Exporter, run: Run, tmp_path: Path
) -> None:
    listed = tmp_path / "targets" / "sample.json"
    target = f"127.0.0.1:{exporter.port}"
    labels = {"training_job": "vesuvius", "run": "sample", "__param_run": "sample"}
    write_file_sd(listed, target, labels)
    # A run that was killed: its file stayed, and another run listens on its port by now.
    dead = tmp_path / "targets" / "dead.json"
    write_file_sd(dead, target, {"run": "dead", "__param_run": "dead"})
    wait_until(lambda: prometheus.value("training_step") == 160.0, "the step is read")

    one = '{training_job="vesuvius",run="sample"'
    assert prometheus.value(f"up{one}}}") == 1.0
    assert prometheus.value(f'training_run_state{one},training_run_state="running"}}') == 1.0
    assert prometheus.value("sum(training_run_state)") == 1.0
    wait_until(lambda: prometheus.value('up{run="dead"}') == 0.0, "the dead run is missed")
    dead.unlink()
    assert prometheus.value(f'training_incidents_total{one},cause="nonfinite"}}') == 1.0
    assert prometheus.value(f'training_incidents_total{one},cause="plateau"}}') == 0.0
    assert prometheus.value(f'training_rank_step_duration_seconds{one},rank="1"}}') == 0.6
    assert prometheus.value("training_straggler_ratio") == pytest.approx(0.6 / 0.55)
    wall_s = sum(run.snapshot.time_s.values())
    assert prometheus.value("sum(training_time_seconds_total)") == pytest.approx(wall_s)
    exported = {s["metric"]["__name__"] for s in prometheus.query('{__name__=~"training_.*"}')}
    assert exported == {name for family in CATALOGUE.values() for name in family.series_names}
    assert prometheus.query('{__name__=~".+",exported_job!=""}') == []

    run.snapshot = replace(run.snapshot, state="finished", step=200)
    finished = 'training_run_state{training_run_state="finished"} == 1'
    wait_until(lambda: prometheus.query(finished) != [], "the end is read")
    assert prometheus.value("training_step") == 200.0

    run.now_s += 61.0
    wait_until(lambda: prometheus.query("training_step") == [], "the series go stale")
    assert prometheus.value('up{run="sample"}') == 1.0

    listed.unlink()
    wait_until(lambda: prometheus.query("up") == [], "the run is forgotten")


def test_promtool_accepts_the_exposition(exporter: Exporter) -> None:
    text = get(f"http://127.0.0.1:{exporter.port}/metrics")
    checked = subprocess.run(
        [need("promtool"), "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_promtool_accepts_the_configuration() -> None:
    checked = subprocess.run(
        [need("promtool"), "check", "config", str(CONFIG)], capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_in_compose_a_run_is_scraped_at_the_head_by_its_own_port(tmp_path: Path) -> None:
    config, job = tmp_path / "prometheus.yml", "training-watchdog"
    text = (REPOSITORY / "deploy" / "compose" / "prometheus.yml").read_text()
    config.write_text(text.replace("/runs/", f"{tmp_path}/runs/"))
    list_run(tmp_path / "runs" / "second", "0.0.0.0", 9466, "172.18.0.2")
    found = subprocess.run(
        [*f"{need('promtool')} check service-discovery --timeout=2s".split(), config, job],
        capture_output=True,
        check=False,
    )
    (target,) = json.loads(found.stdout)
    assert target["labels"]["__address__"] == "ray-head:9466"
    assert (target["labels"]["run"], target["labels"]["__param_run"]) == ("second", "second")


def test_runs_of_one_host_listen_on_neighbouring_ports(run: Run) -> None:
    first = Exporter(lambda: run.snapshot, port=0)
    second = Exporter(lambda: run.snapshot, port=first.port)
    try:
        assert 0 < second.port - first.port < 16
    finally:
        first.close()
        second.close()


def test_a_busy_port_gives_way_to_a_free_one(exporter: Exporter) -> None:
    second = Exporter(lambda: Snapshot(run_id="second"), port=exporter.port)
    try:
        assert second.port not in (0, exporter.port)
        assert b'run="second"' in get(f"http://127.0.0.1:{second.port}/metrics")
    finally:
        second.close()


def test_it_listens_on_loopback_unless_told_otherwise(run: Run) -> None:
    served = Exporter(lambda: run.snapshot, port=0)
    try:
        assert served.host == "127.0.0.1"
    finally:
        served.close()


def test_a_closed_exporter_frees_its_port(run: Run) -> None:
    first = Exporter(lambda: run.snapshot, port=0)
    first.close()
    first.close()
    second = Exporter(lambda: run.snapshot, port=first.port)
    try:
        assert second.port == first.port
    finally:
        second.close()
