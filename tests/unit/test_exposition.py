"""What a snapshot says in the words of the catalogue."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from watchdog.exposition import durations, exported_ranks, samples
from watchdog.latency import BOUNDS_S, Histogram
from watchdog.metrics import CATALOGUE, MetricType
from watchdog.records import Action, Cause
from watchdog.snapshot import STATES, RankView, Snapshot

Values = dict[tuple[str, tuple[str, ...]], float]


def values(snapshot: Snapshot) -> Values:
    return {(s.name, s.labels): s.value for s in samples(snapshot)}


def rank(last_t_s: float = 100.0, step_s: float | None = 1.0) -> RankView:
    return RankView(step=7, last_t_s=last_t_s, step_s=step_s)


FULL = Snapshot(
    run_id="r",
    job="j",
    state="running",
    step=7,
    max_steps=9,
    world_size=2,
    started_t_s=1.0,
    loss=0.5,
    loss_baseline=0.6,
    loss_threshold=0.9,
    grad_norm=1.5,
    lr=0.1,
    epoch=0.25,
    val_loss=0.7,
    val_metric=0.8,
    best_val_metric=0.9,
    last_record_t_s=100.0,
    last_step_t_s=99.0,
    last_tick_t_s=98.0,
    ranks={0: rank(), 1: rank(step_s=3.0)},
    incidents={Cause.SPIKE: 2},
    restarts={"crash": 1},
    verdicts={"rollback": 3},
    checkpoint_step=5,
    checkpoint_t_s=90.0,
    checkpoint_interval_s=30.0,
    checkpoint_seconds=0.5,
    checkpoint_size_bytes=1000,
    trusted_step=4,
    time_s={"productive": 8.0, "waiting": 2.0},
    goodput_ratio=0.8,
    goodput_objective=0.9,
    hang_timeout_s=120.0,
    records_total=30,
    records_dropped=1,
)


def test_a_full_snapshot_fills_the_whole_catalogue() -> None:
    served_by_exporter = {"training_watchdog_build_info"}
    histograms = {d.name for d in durations(FULL)}
    names = {name for name, _ in values(FULL)}
    assert names | histograms | served_by_exporter == set(CATALOGUE)


def test_every_cause_of_an_incident_has_a_histogram_from_the_start_and_none_that_has_not() -> None:
    found = {(d.name, d.label): d.histogram for d in durations(Snapshot(run_id="r"))}
    assert set(found.values()) == {Histogram()}
    labels = {label for _, label in found}
    assert {"nonfinite", "crash", "stall", "plateau"} <= labels
    assert not {"straggler", "overfitting", "storage"} & labels
    assert list(durations(Snapshot())) == []


def test_durations_stand_with_their_cause() -> None:
    once = Histogram().add(0.02)
    snapshot = Snapshot(run_id="r", detection_s={Cause.CRASH: once})
    found = {(d.name, d.label): d.histogram for d in durations(snapshot)}
    assert found["training_watchdog_detection_latency_seconds", "crash"] == once
    assert found["training_watchdog_recovery_duration_seconds", "crash"] == Histogram()


def test_own_labels_match_the_catalogue() -> None:
    for sample in samples(FULL):
        family = CATALOGUE[sample.name]
        own = 1 if family.type is MetricType.STATESET else len(family.labels)
        assert len(sample.labels) == own, sample


def test_a_run_without_a_name_has_no_samples() -> None:
    assert list(samples(Snapshot())) == []


@pytest.mark.parametrize("state", [*STATES, "a state of a later version"])
def test_exactly_one_state_is_one(state: str) -> None:
    found = values(Snapshot(run_id="r", state=state))
    states = {k[1][0]: v for k, v in found.items() if k[0] == "training_run_state"}
    assert [name for name, value in states.items() if value == 1.0] == [state]
    assert set(states) >= set(STATES)


def test_unknown_is_absent_and_not_zero() -> None:
    names = {name for name, _ in values(Snapshot(run_id="r"))}
    for absent in ("loss", "learning_rate", "gradient_norm", "goodput_ratio", "straggler_ratio"):
        assert f"training_{absent}" not in names


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_absent(bad: float) -> None:
    snapshot = Snapshot(run_id="r", loss=bad, grad_norm=bad, val_loss=bad, ranks={0: rank(bad)})
    assert all(math.isfinite(sample.value) for sample in samples(snapshot))


def test_counters_start_at_zero_for_every_label_value() -> None:
    found = values(Snapshot(run_id="r"))
    for cause in Cause:
        assert found["training_incidents_total", (cause.value,)] == 0.0
        assert found["training_run_restarts_total", (cause.value,)] == 0.0
    for action in Action:
        assert found["training_watchdog_verdicts_total", (action.value,)] == 0.0
    assert found["training_time_seconds_total", ("redone_steps",)] == 0.0
    assert found["training_watchdog_reports_total", ("dropped",)] == 0.0


def test_counts_stand_with_their_label() -> None:
    found = values(FULL)
    assert found["training_incidents_total", ("spike",)] == 2.0
    assert found["training_run_restarts_total", ("crash",)] == 1.0
    assert found["training_watchdog_verdicts_total", ("rollback",)] == 3.0
    assert found["training_time_seconds_total", ("productive",)] == 8.0


def test_waiting_time_is_not_counted_before_it_is_explained() -> None:
    assert ("training_time_seconds_total", ("waiting",)) not in values(FULL)


def test_a_label_that_this_version_does_not_know_is_shown() -> None:
    found = values(Snapshot(run_id="r", restarts={"preempted": 4}))
    assert found["training_run_restarts_total", ("preempted",)] == 4.0


def test_a_rank_silent_for_long_is_not_running() -> None:
    ranks = {0: rank(200.0), 1: rank(199.0), 2: rank(169.9)}
    found = values(Snapshot(run_id="r", state="running", world_size=3, ranks=ranks))
    assert found["training_workers_running", ()] == 2.0
    assert found["training_workers_desired", ()] == 3.0


def test_a_rank_at_the_limit_of_silence_is_running() -> None:
    ranks = {0: rank(200.0), 1: rank(170.0)}
    found = values(Snapshot(run_id="r", state="running", ranks=ranks))
    assert found["training_workers_running", ()] == 2.0


def test_a_slow_step_earns_a_longer_silence() -> None:
    ranks = {0: rank(2000.0), 1: rank(1500.0, step_s=60.0)}
    found = values(Snapshot(run_id="r", state="running", ranks=ranks))
    assert found["training_workers_running", ()] == 2.0


def test_nobody_is_running_while_the_group_is_restarted() -> None:
    found = values(Snapshot(run_id="r", state="restarting", ranks={0: rank(), 1: rank()}))
    assert found["training_workers_running", ()] == 0.0


def test_straggler_ratio_is_slowest_over_median() -> None:
    ranks = {0: rank(step_s=1.0), 1: rank(step_s=1.0), 2: rank(step_s=2.5), 3: rank(step_s=None)}
    assert values(Snapshot(run_id="r", ranks=ranks))["training_straggler_ratio", ()] == 2.5


def test_up_to_the_cap_every_rank_is_exported() -> None:
    assert list(exported_ranks({i: rank() for i in (2, 0, 1)}, max_ranks=3)) == [0, 1, 2]


def test_above_the_cap_the_slowest_and_the_most_silent_stay() -> None:
    ranks = {i: rank(last_t_s=100.0, step_s=1.0) for i in range(1000)}
    ranks[700] = rank(last_t_s=100.0, step_s=9.0)
    ranks[800] = rank(last_t_s=3.0, step_s=1.0)
    ranks[900] = rank(last_t_s=2.0, step_s=None)
    kept = exported_ranks(ranks, max_ranks=4)
    assert len(kept) == 4
    assert {700, 800, 900} <= set(kept)


def test_the_ranks_left_out_are_counted() -> None:
    found = values(Snapshot(run_id="r", ranks={i: rank() for i in range(300)}))
    assert found["training_ranks_hidden", ()] == 44.0
    assert sum(name == "training_rank_step" for name, _ in found) == 256


def test_ten_thousand_ranks_and_every_cause_stay_far_below_the_limit_of_a_scrape() -> None:
    every = dict.fromkeys(Cause, Histogram().add(1.0))
    snapshot = replace(
        FULL,
        ranks={i: rank(last_t_s=100.0 - i % 7, step_s=1.0 + i % 5) for i in range(10_000)},
        incidents=dict.fromkeys(Cause, 1),
        detection_s=every,
        recovery_s=every,
    )
    of_histograms = sum(len(BOUNDS_S) + 3 for _ in durations(snapshot))
    assert sum(1 for _ in samples(snapshot)) + of_histograms < 2000
