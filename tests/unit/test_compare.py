"""Runs side by side: equal epochs, ends, incidents, settings that differ, one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main
from runner.compare import compare_runs, comparison_json
from runner.comparison import compare
from runner.curves import Curves, Evaluation, Point
from runner.evidence import Evidence
from runner.runs import RunFolder
from tests.unit.sample_run import write_run


def evidence(run: str, *, slope: float = 0.01, steps: int = 40, **changed: Any) -> Evidence:
    """Return a run of 10 steps an epoch whose loss falls by `slope` a step."""
    points = tuple(Point(s, 0, 1.0 - slope * s, 1e-3) for s in range(1, steps + 1))
    seen = tuple(Evaluation(s, 0, 1.0 - slope * s, slope * s) for s in range(10, steps + 1, 10))
    values: dict[str, Any] = {
        "run_id": run,
        "spec_text": "",
        "spec": {"name": "template", "train": {"batch_size": 4, "lr": 1e-3}},
        "ledger": (),
        "result": {"state": "finished", "step": steps, "seconds": 100.0, "metrics": {"f1": slope}},
        "curves": Curves(clean=points, evaluations=seen),
        "rank_times": (),
        "checkpoints": (),
        "time_s": {},
        "goodput_ratio": 0.9,
        "first_t_s": 0.0,
        "last_t_s": 100.0,
        "bad_lines": 0,
        "dataset_size": 40,
    }
    return Evidence(**(values | changed))


def test_the_same_epoch_is_compared_whatever_the_batch_size() -> None:
    spec = {"name": "template", "train": {"batch_size": 8, "lr": 1e-3}}
    found = compare([evidence("a"), evidence("b", spec=spec, steps=20)])
    assert found.is_by_epoch
    first = found.stretches[0]
    # Ten steps of the one run and five of the other.
    assert first.losses == pytest.approx((1 - 0.01 * 5.5, 1 - 0.01 * 3.0))
    assert first.metrics[0] == pytest.approx(0.1)
    assert first.metrics[1] is None
    assert found.stretches[3].losses[0] is not None
    assert len(found.stretches) == 4


def test_without_a_known_epoch_the_steps_are_cut_into_tenths() -> None:
    found = compare([evidence("a", dataset_size=None), evidence("b", steps=20)])
    assert not found.is_by_epoch
    assert [stretch.name for stretch in found.stretches][:2] == ["to step 4", "to step 8"]
    assert found.stretches[-1].losses[1] is None


def test_ends_and_conclusion_are_against_the_first_run() -> None:
    slower = {"state": "halted", "step": 40, "seconds": 250.0}
    found = compare([evidence("a", slope=0.02), evidence("b", slope=0.01, result=slower)])
    assert found.sides[0].best_metric == pytest.approx(0.8)
    assert found.sides[0].best_metric_step == 40
    [sentence] = found.conclusion
    assert sentence == (
        "Against a: b halted at step 40, its best metric 0.4 is 0.4 below, "
        "it took 2.50 times as long, incidents 0 to 0."
    )


def test_incidents_are_counted_by_cause() -> None:
    ledger = tuple({"kind": "incident_opened", "cause": c} for c in ("nonfinite", "nonfinite"))
    found = compare([evidence("a"), evidence("b", ledger=ledger)])
    assert found.sides[1].incidents == {"nonfinite": 2}


def test_only_settings_that_differ_are_listed_and_a_missing_one_is_said() -> None:
    spec = {"name": "template", "train": {"batch_size": 4, "lr": 1e-4}, "task": {"hidden": 3}}
    found = compare([evidence("a"), evidence("b", spec=spec)])
    assert [(d.name, d.values) for d in found.differences] == [
        ("task.hidden", (None, 3)),
        ("train.lr", (1e-3, 1e-4)),
    ]


def test_a_run_that_says_nothing_is_compared_as_unknown() -> None:
    empty = evidence(
        "b", result={}, curves=Curves(), spec={}, dataset_size=None, goodput_ratio=None
    )
    found = compare([evidence("a"), empty])
    assert found.sides[1].loss is None
    assert found.sides[1].state == "unfinished"
    assert all(stretch.losses[1] is None for stretch in found.stretches)


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        write_run(tmp_path / "runs" / name)
    path = tmp_path / "runs" / "two" / "job.yaml"
    path.write_text(path.read_text().replace("lr: 0.002", "lr: 0.02"))
    return tmp_path / "runs"


def test_the_page_holds_both_curves_and_needs_no_network(runs_dir: Path, tmp_path: Path) -> None:
    runs = [RunFolder(runs_dir / name) for name in ("one", "two")]
    page = tmp_path / "page.html"
    found = compare_runs(runs, page)
    html = page.read_text()
    assert "one against two" in html
    assert html.count('"name": "one"') >= 3
    assert "<script src" not in html
    assert "<link" not in html
    document = json.loads(json.dumps(comparison_json(found, page), allow_nan=False))
    assert [run["run"] for run in document["runs"]] == ["one", "two"]
    assert document["differences"] == {"train.lr": [0.002, 0.02]}


def test_the_command_prints_tables_or_one_document(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["one", "two", "--runs-dir", str(runs_dir)]
    assert main(["compare", *options]) == 0
    out = capsys.readouterr().out
    assert "Settings that differ" in out
    assert "Against one: two finished" in out
    assert main(["compare", *options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert Path(document["page"]).is_file()


def test_one_run_or_an_unknown_one_is_refused(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "one", "--runs-dir", str(runs_dir)]) == 2
    assert main(["compare", "one", "three", "--runs-dir", str(runs_dir)]) == 2
    assert "two runs or more" in capsys.readouterr().err
