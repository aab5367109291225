"""The evaluation itself: faults are what they say, and the rules of others do what is published."""

import math
from pathlib import Path

import pytest

from bench.injections import FAULTS, inject
from bench.judgement import judge
from bench.judgement_page import page
from bench.peer_rules import (
    PEERS,
    lightning,
    llm_foundry,
    olmo_core,
    trainscope,
    trainspotter,
    zclip,
)
from bench.real_logs import Log, records
from tests.replay.rig import noisy
from watchdog.foreign import Row

CALM = noisy(2.2, 0.02, seed=4)
ROWS = [Row(step=s, loss=CALM(0, s) * s**-0.05, grad_norm=CALM(0, s)) for s in range(1, 801)]


def log(rows: list[Row], repo: str = "a/b") -> Log:
    return Log(
        id="toy", repo=repo, label="healthy", certainty="sure", onset_step=-1, rows=tuple(rows)
    )


def spiked(factor: float, count: int = 1) -> list[Row]:
    high = [Row(step=401 + i, loss=2.2 * factor, grad_norm=2.2 * factor) for i in range(count)]
    return [*ROWS[:400], *high, *ROWS[400 + count :]]


def test_source_is_always_in_the_same_half() -> None:
    assert {log(ROWS, f"owner/{i}").half for i in range(20)} == {"tuning", "held-out"}
    assert log(ROWS, "a/b").half == log(ROWS[:5], "a/b").half


@pytest.mark.parametrize("fault", [f for f in FAULTS if f != "plateau"])
def test_fault_changes_nothing_before_its_onset(fault: str) -> None:
    case = inject(fault, ROWS, "toy")
    assert case is not None
    assert case.rows[: case.onset] == tuple(ROWS[: case.onset])
    assert case.rows[case.onset + 1].loss != ROWS[case.onset + 1].loss


def test_faults_have_the_size_they_are_named_for() -> None:
    small, large = inject("shift of 2 sigma", ROWS, "toy"), inject("shift of 4 sigma", ROWS, "toy")
    assert small is not None
    assert large is not None
    at = small.onset + 5
    losses = [rows[at].loss for rows in (ROWS, small.rows, large.rows)]
    base, two, four = (math.log(x) for x in losses if x is not None)
    assert two - base == pytest.approx(0.04, rel=0.25)
    assert four - base == pytest.approx(2 * (two - base))


def test_log_too_short_gets_no_fault() -> None:
    assert inject("NaN", ROWS[:100], "toy") is None


@pytest.mark.parametrize("fault", ["NaN", "spike, unrecovered", "shift of 4 sigma", "dead loss"])
def test_fault_is_acted_on_and_the_healthy_log_is_not(fault: str) -> None:
    case = inject(fault, ROWS, "toy")
    assert case is not None
    acts, _ = judge(records(log(ROWS), case.rows))
    assert acts[0] >= case.onset
    assert judge(records(log(ROWS)))[0] == []


def test_spike_that_heals_is_only_suspected() -> None:
    case = inject("spike that heals", ROWS, "toy")
    assert case is not None
    acts, suspects = judge(records(log(ROWS), case.rows))
    assert (acts, suspects) == ([], 1)


@pytest.mark.parametrize("rule", PEERS)
def test_rules_of_others_are_silent_on_a_constant_loss(rule: str) -> None:
    rows = [Row(step=s, loss=2.0, grad_norm=1.0) for s in range(300)]
    assert PEERS[rule](rows) == []


def test_rules_of_others_alarm_where_they_say() -> None:
    assert lightning(spiked(3.5)) == [400]
    assert lightning(spiked(2.0)) == []
    assert llm_foundry(spiked(2.5, count=4)) == []
    assert llm_foundry(spiked(2.5, count=6)) == [404]
    for rule in (olmo_core, trainscope, trainspotter, zclip):
        assert 400 in rule(spiked(3.5))


def test_page_names_both_halves_and_what_was_misjudged() -> None:
    line = {
        "id": "toy",
        "half": "tuning",
        "label": "nan",
        "certainty": "sure",
        "is_excerpt": False,
        "is_actionable": True,
        "records": 10,
        "alarms": {"Watchkeeper": 0},
        "early": {"Watchkeeper": 0},
        "latency": {"Watchkeeper": None},
    }
    text = page({"real": [line], "injected": [], "cost_us": 12.3})
    assert "## Tuning half" in text
    assert "## Held-out half" in text
    assert "- toy (tuning, nan, sure): missed" in text


def test_labelled_logs_are_read_where_they_are(shared: Path | None) -> None:
    if shared is None or not (shared / "traces" / "manifest.csv").is_file():
        pytest.skip("the real logs are not beside this checkout")
    from bench.real_logs import read_logs

    logs = read_logs(shared / "traces")
    assert {entry.half for entry in logs} == {"tuning", "held-out"}
    assert all(entry.rows for entry in logs)
