"""The watchdog as one object: when its metrics have to stay up for somebody."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.submit import _tell_failure
from watchdog.config import WatchdogConfig
from watchdog.discovery import note_scrape, sd_file
from watchdog.host import WatchdogHost
from watchdog.records import RunEnded, RunStarted


@pytest.fixture
def host(tmp_path: Path) -> Iterator[WatchdogHost]:
    run = tmp_path / "run-1"
    run.mkdir()
    made = WatchdogHost(str(run), WatchdogConfig(port=0))
    made.exchange([RunStarted(t_s=1.0, run_id="run-1", job="toy", max_steps=9)])
    yield made
    made.close()
    assert not sd_file(run).exists()


def end(state: str) -> list[RunEnded]:
    return [RunEnded(t_s=2.0, attempt=0, step=0, state=state)]


def test_where_nobody_scrapes_no_end_is_awaited(host: WatchdogHost) -> None:
    host.exchange(end("halted"))
    assert not host.is_end_awaited()


@pytest.mark.parametrize(
    ("state", "is_awaited"), [("halted", True), ("failed", True), ("finished", False)]
)
def test_a_bad_end_before_the_first_scrape_waits_for_who_scrapes_the_other_runs(
    host: WatchdogHost, tmp_path: Path, state: str, is_awaited: bool
) -> None:
    note_scrape(tmp_path / "another run")
    assert not host.is_end_awaited(), "it has not ended"
    host.exchange(end(state))
    assert host.is_end_awaited() == is_awaited


def test_a_driver_that_cannot_go_on_has_its_run_known_as_failed(host: WatchdogHost) -> None:
    _tell_failure(host, ValueError("no such bucket"))
    assert host.snapshot().state == "failed"
