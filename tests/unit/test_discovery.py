"""The list of runs that Prometheus reads."""

import json
import os
from pathlib import Path

import pytest

from watchdog.discovery import is_scraped, list_run, note_scrape, sd_file, unlist_run, write_file_sd


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("127.0.0.1", "127.0.0.1:9465"),
        ("10.0.0.7", "10.0.0.7:9465"),
        ("0.0.0.0", "10.0.0.2:9465"),
        ("::", "10.0.0.2:9465"),
        ("::1", "[::1]:9465"),
    ],
)
def test_a_run_is_listed_where_it_can_be_reached_and_asked_for_by_name(
    tmp_path: Path, host: str, target: str
) -> None:
    run = tmp_path / "run-1"
    list_run(run, host, 9465, "10.0.0.2")
    expected = [{"targets": [target], "labels": {"run": "run-1", "__param_run": "run-1"}}]
    assert json.loads(sd_file(run).read_text()) == expected
    assert [file.name for file in (tmp_path / ".prometheus").iterdir()] == ["run-1.json"]


def test_every_run_has_a_file_of_its_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        list_run(tmp_path / name, "127.0.0.1", 9465, "127.0.0.1")
    assert unlist_run(tmp_path / "a")
    assert not unlist_run(tmp_path / "a"), "once more is fine"
    assert [file.name for file in (tmp_path / ".prometheus").glob("*.json")] == ["b.json"]


def test_a_resumed_run_replaces_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "run-1.json"
    write_file_sd(path, "127.0.0.1:1", {})
    write_file_sd(path, "127.0.0.1:2", {})
    assert json.loads(path.read_text())[0]["targets"] == ["127.0.0.1:2"]


def test_nobody_scrapes_until_somebody_did_and_not_for_ever_after(tmp_path: Path) -> None:
    run = tmp_path / "run-1"
    assert not is_scraped(run, 0.0)
    list_run(run, "127.0.0.1", 9465, "127.0.0.1")
    assert not is_scraped(run, 0.0)
    note_scrape(tmp_path / "another run")
    os.utime(tmp_path / ".prometheus" / "scraped", (1000.0, 1000.0))
    assert is_scraped(run, 1000.0 + 86399.0)
    assert not is_scraped(run, 1000.0 + 86400.0)
    assert len(list((tmp_path / ".prometheus").glob("*.json"))) == 1, "the note is no target"
