"""What operators load: generated files are fresh, and name only what is exported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from promql_parser import parse

from deploy.generate import files
from deploy.rules.alerts import ALERTS
from deploy.rules.recording import RECORDINGS
from watchdog.metrics import CATALOGUE

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = files()
RECORDED = {rule.record for rule in RECORDINGS}
#: What Prometheus itself knows of a target.
OF_TARGETS = {"up", "scrape_samples_post_metric_relabeling"}


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_generated_file_is_what_the_catalogue_says(name: str) -> None:
    assert (REPOSITORY / name).read_text() == FILES[name], "run `make deploy-files`"


def dashboards() -> Iterator[dict[str, Any]]:
    for name, text in FILES.items():
        if "dashboards/" in name:
            yield json.loads(text)


def panel_queries() -> Iterator[tuple[str, str]]:
    """Yield the title and PromQL of every panel, with Grafana's variables filled in."""
    for board in dashboards():
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"].replace("$__rate_interval", "1m")
                yield f"{board['title']}: {panel['title']}", expr.replace("$", "")


def metrics_in(expr: str) -> set[str]:
    """Return the metric names of an expression, from its syntax tree."""
    found: set[str] = set()
    waiting: list[Any] = [parse(expr)]
    while waiting:
        node = waiting.pop()
        name = getattr(node, "name", None)
        if isinstance(name, str) and type(node).__name__ == "VectorSelector":
            found.add(name)
        for part in ("expr", "lhs", "rhs", "vector_selector", "vs"):
            child = getattr(node, part, None)
            if child is not None and not isinstance(child, str):
                waiting.append(child)
        waiting += [a for a in getattr(node, "args", None) or [] if not isinstance(a, str)]
    return found


EXPRESSIONS = [
    *((alert.name, alert.expr) for alert in ALERTS),
    *((rule.record, rule.expr) for rule in RECORDINGS),
    *panel_queries(),
]


@pytest.mark.parametrize(("where", "expr"), EXPRESSIONS)
def test_every_metric_that_is_asked_for_is_exported(where: str, expr: str) -> None:
    asked = metrics_in(expr)
    assert asked or expr == "vector(1)", where
    exported = {name for family in CATALOGUE.values() for name in family.series_names}
    assert asked <= exported | RECORDED | OF_TARGETS, where


def test_every_alert_tells_who_what_and_where_to_read_on() -> None:
    text = FILES["docs/RUNBOOKS.md"]
    for alert in ALERTS:
        assert f"\n## {alert.name}\n" in text
        assert alert.runbook.to_do, alert.name
        assert alert.name.startswith("Training")


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    for board in dashboards():
        for panel in board["panels"]:
            assert panel["title"], board["title"]
            assert panel["description"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_grafana_and_prometheus_evaluate_the_same_expressions() -> None:
    grafana = yaml.safe_load(FILES["deploy/grafana/alerting-without-alertmanager/rules.yaml"])
    ours = {a.name: a.expr for a in ALERTS if a.severity != "none"}
    theirs = {r["title"]: r["data"][0]["model"]["expr"] for r in grafana["groups"][0]["rules"]}
    assert theirs == ours


def test_the_routes_of_alertmanager_are_sound() -> None:
    folder = REPOSITORY / "deploy"
    command = ["check", str(folder / "alertmanager" / "alertmanager.yml"), "--strict"]
    command += ["--rules", str(folder / "prometheus" / "rules" / "*.yml")]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("amlint")), *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
