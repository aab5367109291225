"""The files and the words of `make monitoring`, without its servers."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local_files import alertmanager_config, grafana_environment, prometheus_config
from deploy.pages import Desk, sentences

DESK = "http://127.0.0.1:4711"


def hooks(config: str) -> dict[str, list[str]]:
    receivers = yaml.safe_load(config)["receivers"]
    return {r["name"]: [h["url"] for h in r.get("webhook_configs", [])] for r in receivers}


def test_prometheus_reads_the_runs_that_were_named_and_our_rules(tmp_path: Path) -> None:
    config = yaml.safe_load(prometheus_config(tmp_path / "runs", "127.0.0.1:4712"))
    (scrape,) = config["scrape_configs"]
    listed = str(tmp_path / "runs" / ".prometheus" / "*.json")
    assert scrape["file_sd_configs"][0]["files"] == [listed]
    assert scrape["honor_labels"] is True
    (manager,) = config["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["127.0.0.1:4712"]}]
    (rules,) = config["rule_files"]
    assert [file.name for file in Path(rules).parent.glob(Path(rules).name)] == ["training.yml"]


def test_pages_go_to_the_terminal_unless_somebody_is_named() -> None:
    here = hooks(alertmanager_config(DESK, None))
    assert here == {
        "nobody": [],
        "page": [f"{DESK}/page"],
        "tickets": [f"{DESK}/tickets"],
        "heartbeat": [f"{DESK}/heartbeat"],
    }
    there = hooks(alertmanager_config(DESK, "https://example.org/hook"))
    assert there["page"] == there["tickets"] == ["https://example.org/hook"]
    assert there["heartbeat"] == [f"{DESK}/heartbeat"], "a person is not told every five minutes"


def test_grafana_is_on_loopback_and_nobody_may_change_anything(tmp_path: Path) -> None:
    told = grafana_environment(tmp_path, 3001, "http://p", "http://a", DESK)
    assert (told["GF_SERVER_HTTP_ADDR"], told["GF_SERVER_HTTP_PORT"]) == ("127.0.0.1", "3001")
    assert told["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    provisioning = Path(told["GF_PATHS_PROVISIONING"])
    used = "".join(file.read_text() for file in provisioning.rglob("*.yaml"))
    for name in ("PROMETHEUS_URL", "ALERTMANAGER_URL", "WATCHKEEPER_DASHBOARDS"):
        assert f"${{{name}}}" in used
        assert told[name]


NOTE: dict[str, Any] = {
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "TrainingRunHalted", "run": "r"},
            "annotations": {"summary": "Run r was halted.", "runbook_url": "docs/RUNBOOKS.md#x"},
        },
        {"status": "resolved", "labels": {"alertname": "TrainingRunHung"}, "annotations": {}},
    ]
}


def test_a_page_is_a_line_with_its_runbook() -> None:
    assert sentences("/page", NOTE) == [
        "page: TrainingRunHalted: Run r was halted. (docs/RUNBOOKS.md#x)",
        "page over: TrainingRunHung: ",
    ]
    assert sentences("/tickets", NOTE)[0].startswith("ticket: TrainingRunHalted")
    assert sentences("/heartbeat", NOTE) == []


def test_the_heartbeat_is_told_once_and_nonsense_is_refused() -> None:
    said: list[str] = []
    desk = Desk(said.append)
    try:
        for _ in range(2):
            post(f"{desk.url}/heartbeat", json.dumps(NOTE).encode())
        post(f"{desk.url}/page", json.dumps(NOTE).encode())
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(f"{desk.url}/page", b"not json")
    finally:
        desk.close()
    assert [line.split(" ", 1)[1] for line in said] == [
        "alerting works: the dead man's switch arrived",
        *sentences("/page", NOTE),
    ]


def post(url: str, body: bytes) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=5) as answer:
        assert answer.status == 200
