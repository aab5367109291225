"""The alert rules against promtool: each fires when it must, and not a moment before."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.rules.alerts import ALERTS
from deploy.rules.catalogue import Alert, Severity
from deploy.rules.recording import RECORDINGS
from tests.e2e.rule_cases import CASES, HEALED, SILENT_RUNS
from tests.e2e.servers import REPOSITORY, need

RULES = REPOSITORY / "deploy" / "prometheus" / "rules" / "training.yml"
BY_NAME = {alert.name: alert for alert in ALERTS}
LOUD = [alert.name for alert in ALERTS if alert.severity is not Severity.NONE]

pytestmark = pytest.mark.server


def count(name: str, when: str, how_many: int) -> dict[str, Any]:
    """Return a promtool test of how many alerts of a name fire at a moment."""
    samples = [{"labels": "{}", "value": 1}] if how_many else []
    firing = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
    return {"expr": f"count({firing}) > bool 0", "eval_time": when, "exp_samples": samples}


def test(name: str, series: dict[str, str], claims: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one test of a promtool file."""
    return {
        "name": name,
        "interval": "15s",
        "input_series": [{"series": s, "values": v} for s, v in series.items()],
        "promql_expr_test": claims,
    }


test.__test__ = False  # type: ignore[attr-defined]  # not a test of pytest's


def told() -> list[dict[str, Any]]:
    """Return every case of the table."""
    return [
        test(
            case.name,
            dict(case.series),
            [count(name, when, 1) for name, when in case.fires.items()]
            + [count(name, when, 0) for name, when in case.silent.items()],
        )
        for case in CASES
    ]


def untold() -> list[dict[str, Any]]:
    """Return the runs in which nobody may be told, or woken."""
    out = []
    for name, (series, moments) in SILENT_RUNS.items():
        claims = [count(alert, when, 0) for alert in LOUD for when in moments]
        out.append(test(name, dict(series), claims))
    pages = [a.name for a in ALERTS if a.severity is Severity.CRITICAL]
    claims = [count(name, when, 0) for name in pages for when in ("25m30s", "26m", "1h")]
    out.append(test("a healed fault pages nobody", dict(HEALED), claims))
    return out


def run_promtool(
    folder: Path, rules: Path, cases: list[dict[str, Any]]
) -> subprocess.CompletedProcess[str]:
    document = {
        "rule_files": [str(rules)],
        "evaluation_interval": "15s",
        # Without an order the alerts may be evaluated before the recordings they read.
        "group_eval_order": ["training-recording", "training-alerts"],
        "tests": cases,
    }
    file = folder / "training_test.yml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return subprocess.run(
        [need("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )


def test_every_alert_fires_when_it_must_and_not_before(tmp_path: Path) -> None:
    done = run_promtool(tmp_path, RULES, told() + untold())
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_that_fires_and_one_that_is_silent() -> None:
    fired = {name for case in CASES for name in case.fires}
    silent = {name for case in CASES for name in case.silent}
    assert fired == set(BY_NAME)
    assert silent | {"TrainingDeadMansSwitch"} == set(BY_NAME)


def mutants(alert: Alert) -> list[tuple[str, dict[str, Any]]]:
    """Return ways in which a rule might be wrong: never true, and true too late."""
    rule = {"alert": alert.name, "expr": alert.expr, "for": alert.for_ or "0s"}
    return [
        ("never true", {**rule, "expr": f"({alert.expr}) and vector(1) == 2"}),
        ("a day late", {**rule, "for": "1d"}),
    ]


@pytest.mark.parametrize("kind", ["never true", "a day late"])
def test_the_cases_notice_a_rule_that_is_wrong(kind: str, tmp_path: Path) -> None:
    broken = [dict(mutants(alert))[kind] for alert in ALERTS]
    groups = [
        {
            "name": "training-recording",
            "rules": [{"record": r.record, "expr": r.expr} for r in RECORDINGS],
        },
        {"name": "training-alerts", "rules": broken},
    ]
    rules = tmp_path / "broken.yml"
    rules.write_text(yaml.safe_dump({"groups": groups}))
    done = run_promtool(tmp_path, rules, told())
    assert done.returncode != 0
    noticed = {name for name in BY_NAME if f'alertname=\\"{name}\\"' in done.stdout + done.stderr}
    assert noticed == set(BY_NAME)


def test_promtool_finds_nothing_to_blame_in_the_rules() -> None:
    done = subprocess.run(
        [need("promtool"), "check", "rules", "--lint=all", str(RULES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
