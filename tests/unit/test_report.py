"""The report page: complete, offline, and unimpressed by what stands in a run's files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from runner.evidence import read_evidence
from runner.report import script_json, write_report
from runner.report_view import ReportView, build_view
from runner.runs import RunFolder
from tests.unit.sample_run import LAST_STEP, json_lines, ledger, write_run

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 7*7 }}"


class Page(HTMLParser):
    """Collects the elements of a page, the text people see, and the figures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.figures: dict[str, Any] = {}
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = "figures" if dict(attrs).get("id") == "figures" else tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "figures":
            self.figures = json.loads(data)
        elif self._inside not in ("script", "style"):
            self.text += data

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


def page(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def view(folder: Path) -> ReportView:
    return build_view(read_evidence(RunFolder(folder)), {"python": "3"})


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "sample")


def test_the_page_tells_what_happened_in_plain_words(sample: Path) -> None:
    text = page(sample).text
    assert "finished at step 160: all steps made" in text
    assert "Rolled back to step 32 in 41 ms; learning rate 0.002" in text
    assert "3 batches skipped" in text
    assert "Restarted from step 96 in 4.2 s" in text
    assert "The loss is back at its forecast" in text
    assert "max_steps: 160" in text


def test_the_page_needs_nothing_from_outside(sample: Path) -> None:
    found = page(sample)
    assert found.tags("link") == []
    assert found.tags("img") == []
    assert all("src" not in script for script in found.tags("script"))
    assert sample.joinpath("report.html").stat().st_size > 1_000_000  # plotly itself is inside


def test_every_chart_has_a_place_and_a_figure(sample: Path) -> None:
    found = page(sample)
    places = {a["data-figure"] for a in found.tags("div") if "data-figure" in a}
    assert places == set(found.figures) == {"loss", "validation", "lr", "norm", "ranks"}


def test_the_loss_chart_shows_the_clean_curve_and_its_branches(sample: Path) -> None:
    figure = page(sample).figures["loss"]
    lines = [trace for trace in figure["data"] if trace["mode"] == "lines"]
    clean = lines[-1]
    assert clean["x"] == list(range(1, LAST_STEP + 1))
    assert [trace["name"] for trace in lines] == ["superseded", "superseded", "training loss"]
    assert figure["data"][-1]["x"] == [40, 41, 42]
    assert [label["text"] for label in figure["layout"]["annotations"]] == ["rollback", "restart"]
    bands = [s for s in figure["layout"]["shapes"] if s["type"] == "rect"]
    assert (bands[0]["x0"], bands[0]["x1"]) == (39.5, 42.5)


def test_both_themes_name_every_colour_that_a_figure_uses(sample: Path) -> None:
    html = write_report(sample).read_text(encoding="utf-8")
    roles = set(re.findall(r'"var:(\w+)"', json.dumps(Page(html).figures)))
    light, dark = html.split("@media screen and (prefers-color-scheme: dark)")[:2]
    assert roles
    for role in roles:
        assert f"--{role}:" in light
        assert f"--{role}:" in dark


def test_the_time_bar_adds_up(sample: Path) -> None:
    shares = view(sample).shares
    assert sum(share.percent for share in shares) == pytest.approx(100, abs=0.01)
    assert {"productive", "startup", "recovery", "redone_steps"} <= {s.name for s in shares}


def test_checkpoints_show_their_trust_and_which_was_restored(sample: Path) -> None:
    table = next(t for t in view(sample).tables if t.title == "Checkpoints")
    rows = {(row[0], row[1]): row for row in table.rows}
    assert rows["32", "durable"][2] == "trusted"
    assert rows["32", "memory"][-1] == "restored by a rollback or restart"
    assert rows["128", "durable"][2] == "candidate"


def test_all_lines_of_a_whole_run_can_be_read(sample: Path) -> None:
    assert view(sample).bad_lines == 0


def test_a_calm_run_says_that_nothing_had_to_be_done(tmp_path: Path) -> None:
    run = write_run(tmp_path / "calm")
    calm = [line for line in ledger() if line["kind"] in ("run_started", "run_ended")]
    (run / "ledger.jsonl").write_text(json_lines(calm))
    assert "Nothing had to be done" in page(run).text


@pytest.mark.parametrize(
    "missing", ["job.yaml", "trace.jsonl", "ledger.jsonl", "result.json", "everything"]
)
def test_a_missing_file_still_gives_a_page(tmp_path: Path, missing: str) -> None:
    run = write_run(tmp_path / "partial")
    for path in list(run.iterdir()):
        if missing in (path.name, "everything"):
            path.unlink()
    assert "partial" in page(run).text


def test_a_file_that_ends_half_written_still_gives_a_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "torn")
    for name in ("trace.jsonl", "ledger.jsonl", "result.json"):
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) * 2 // 3])
    found = page(run)
    assert "2 line(s)" in found.text
    assert "no end in its ledger" in found.text


def _odd_types(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value if key == "kind" else {"odd": [value]} for key, value in line.items()}


@pytest.mark.parametrize(
    "spoil",
    [
        _odd_types,
        lambda line: line | {"step": 1e999, "t_s": "soon"},
        lambda line: {"kind": line["kind"]},
        lambda line: line | {"error": "\ud800", "reason": "\ud800"},
    ],
)
def test_files_with_other_types_still_give_a_page(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    run = write_run(tmp_path / "odd")
    for name in ("trace.jsonl", "ledger.jsonl"):
        lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
        (run / name).write_text(json_lines([spoil(line) for line in lines]))
    (run / "result.json").write_text("[1]")
    (run / "job.yaml").write_text("- a list\n- of things")
    assert "odd" in page(run).text


def test_texts_from_files_stay_texts(tmp_path: Path) -> None:
    clean = write_run(tmp_path / "clean")
    hostile = write_run(tmp_path / "<b>x<b>")
    lines = [
        {
            k: ATTACK if isinstance(v, str) and k not in ("kind", "action") else v
            for k, v in item.items()
        }
        for item in ledger()
    ]
    (hostile / "ledger.jsonl").write_text(json_lines(lines))
    (hostile / "job.yaml").write_text(
        f"name: {json.dumps(ATTACK)}\ndescription: {json.dumps(ATTACK)}"
    )
    (hostile / "result.json").write_text(
        json.dumps({"state": ATTACK, "reason": ATTACK, "metrics": {ATTACK: 1.0}})
    )
    (hostile / "environment.json").write_text(json.dumps({"command": ATTACK, "git": {"x": ATTACK}}))
    found, expected = page(hostile), page(clean)
    assert len(found.tags("script")) == len(expected.tags("script"))
    assert found.tags("img") == []
    assert len(found.tags("b")) == len(expected.tags("b"))  # those of the legend and no others
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert "alert(1)" in found.text
    assert "{{ 7*7 }}" in found.text


def test_json_in_a_script_cannot_end_it() -> None:
    hostile = {"a": ATTACK, "b": "\u2028 & <!--"}
    text = script_json(hostile)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == hostile


def test_a_report_is_replaced_whole(tmp_path: Path) -> None:
    run = write_run(tmp_path / "again")
    first = write_report(run)
    assert write_report(run) == first
    assert [p.name for p in run.iterdir() if "report" in p.name] == ["report.html"]


def test_each_verdict_has_its_evidence_its_act_and_its_proof(sample: Path) -> None:
    nonfinite, crash = view(sample).cards
    assert nonfinite.helped is True
    assert dict(nonfinite.signals)["not finite"] == "3 of 3 steps since the first bad"
    assert "NaN at the verdict" in dict(nonfinite.signals)["gradient norm"]
    assert dict(nonfinite.act)["restored"] == "step 32"
    assert dict(nonfinite.proof)["time lost"] == "5.4 s"
    chart = nonfinite.chart
    assert chart is not None
    assert chart.before
    assert chart.after
    assert len(chart.marks) == 3
    assert chart.forecast_y is not None
    assert crash.anchor == "incident-2"


def test_every_chart_and_band_says_in_words_what_it_shows(sample: Path) -> None:
    found = page(sample)
    images = [attributes for _, attributes in found.elements if attributes.get("role") == "img"]
    assert len(images) >= 10
    assert all(len(attributes["aria-label"] or "") > 10 for attributes in images)


def test_links_within_the_page_lead_somewhere(sample: Path) -> None:
    found = page(sample)
    ids = {attributes["id"] for _, attributes in found.elements if "id" in attributes}
    links = {attributes["href"] or "" for attributes in found.tags("a")}
    assert links
    assert {link.removeprefix("#") for link in links} <= ids


def _palette(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", css))


def _contrast(one: str, other: str) -> float:
    """Return the ratio of two colours. Source: WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_texts_can_be_read_in_both_themes(sample: Path) -> None:
    html = write_report(sample).read_text(encoding="utf-8")
    light, dark = html.split("@media screen and (prefers-color-scheme: dark)")[:2]
    pairs = [
        *((text, ground) for text in ("ink", "quiet", "accent") for ground in ("page", "panel")),
        ("good", "good-soft"),
        ("bad", "bad-soft"),
        ("warn", "warn-soft"),
        ("quiet", "neutral-soft"),
    ]
    for theme in (_palette(light), _palette(dark[:4000])):
        for text, ground in pairs:
            assert _contrast(theme[text], theme[ground]) >= 4.5, (text, ground)


def test_a_run_of_very_many_incidents_makes_a_page_of_bounded_size(tmp_path: Path) -> None:
    run = write_run(tmp_path / "many")
    lines = ledger()
    verdict = next(line for line in lines if line["kind"] == "verdict")
    many = [{**verdict, "verdict_id": 10 + n, "incident": f"i{n}"} for n in range(2000)]
    (run / "ledger.jsonl").write_text(json_lines([*lines, *many]))
    bare = write_report(write_run(tmp_path / "few")).stat().st_size
    assert write_report(run).stat().st_size - bare < 1_000_000


def test_no_secret_of_a_file_is_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "secret")
    with (run / "job.yaml").open("a") as file:
        file.write("data: {path: 's3://user:hunter2@bucket/x', token: abc123def}\n")
    (run / "environment.json").write_text('{"command": "submit --set task.api_key=abc123def"}')
    html = write_report(run).read_text(encoding="utf-8")
    assert "[redacted]" in html
    assert "hunter2" not in html
    assert "abc123def" not in html
