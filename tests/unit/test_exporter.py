"""The collector behind the exporter: what a scrape would read, without a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics import exposition, parser

from watchdog.exporter import SnapshotCollector
from watchdog.snapshot import TERMINAL_STATES, RankView, Snapshot

# Named here with their types, because the library leaves them out.
expose: Callable[[CollectorRegistry], bytes] = exposition.generate_latest
parse: Callable[[str], Iterable[Metric]] = parser.text_string_to_metric_families

RUNNING = Snapshot(
    run_id="run-1",
    job="vesuvius",
    state="running",
    step=7,
    loss=0.5,
    ranks={0: RankView(step=7, last_t_s=1.0)},
    time_s={"productive": 10.0, "redone_steps": 0.0},
)


class Bench:
    """A collector with a snapshot and a clock that the test sets."""

    def __init__(self) -> None:
        self.snapshot = RUNNING
        self.now_s = 1000.0
        self._registry = CollectorRegistry()
        self.collector = SnapshotCollector(lambda: self.snapshot, lambda: self.now_s, grace_s=300.0)
        self._registry.register(self.collector)

    def text(self) -> str:
        return expose(self._registry).decode()

    def names(self) -> set[str]:
        return {f.name for f in parse(self.text())}

    def value(self, name: str, **labels: str) -> float | None:
        run = {"training_job": "vesuvius", "run": "run-1"}
        return self._registry.get_sample_value(name, run | labels)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_strict_parser_accepts_the_exposition(bench: Bench) -> None:
    families = list(parse(bench.text()))
    assert {"training_run_state", "training_loss", "training_steps"} <= {f.name for f in families}


def test_there_are_no_created_series(bench: Bench) -> None:
    assert "_created" not in bench.text()


def test_values_carry_the_labels_of_the_run(bench: Bench) -> None:
    assert bench.value("training_loss") == 0.5
    assert bench.value("training_rank_step", rank="0") == 7.0
    assert bench.value("training_run_state", training_run_state="running") == 1.0


def test_a_hostile_run_name_is_escaped(bench: Bench) -> None:
    name = 'a"b\\c\nd{}'
    bench.snapshot = dataclasses.replace(RUNNING, run_id=name)
    families = parse(bench.text())
    runs = {s.labels["run"] for f in families for s in f.samples if "run" in s.labels}
    assert runs == {name}


def test_a_counter_never_falls(bench: Bench) -> None:
    bench.text()
    bench.snapshot = dataclasses.replace(
        RUNNING, time_s={"productive": 4.0, "redone_steps": 6.0}, loss=0.25
    )
    assert bench.value("training_time_seconds_total", category="productive") == 10.0
    assert bench.value("training_time_seconds_total", category="redone_steps") == 6.0
    assert bench.value("training_loss") == 0.25


@pytest.mark.parametrize("state", sorted(TERMINAL_STATES))
def test_the_last_values_stay_for_the_grace(bench: Bench, state: str) -> None:
    bench.snapshot = dataclasses.replace(RUNNING, state=state)
    bench.text()
    bench.now_s += 299.9
    assert bench.value("training_run_state", training_run_state=state) == 1.0


def test_the_series_vanish_after_the_grace(bench: Bench) -> None:
    bench.snapshot = dataclasses.replace(RUNNING, state="finished")
    bench.text()
    bench.now_s += 300.0
    assert bench.names() == {"training_watchdog_build"}


def test_a_resumed_run_is_seen_again(bench: Bench) -> None:
    bench.snapshot = dataclasses.replace(RUNNING, state="stopped")
    bench.text()
    bench.now_s += 400.0
    bench.snapshot = RUNNING
    assert bench.value("training_step") == 7.0


def test_a_run_without_a_name_shows_only_the_watchdog(bench: Bench) -> None:
    bench.snapshot = Snapshot()
    assert bench.names() == {"training_watchdog_build"}


def test_the_end_of_a_run_is_awaited_only_by_somebody_who_scrapes(bench: Bench) -> None:
    assert not bench.collector.is_end_awaited()
    bench.text()
    bench.snapshot = dataclasses.replace(RUNNING, state="halted")
    assert bench.collector.is_end_awaited()
    bench.text()
    assert not bench.collector.is_end_awaited()


def test_an_end_is_not_awaited_for_ever(bench: Bench) -> None:
    bench.text()
    bench.now_s += 61.0
    assert not bench.collector.is_end_awaited()
