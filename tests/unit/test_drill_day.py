"""The game day: its scenarios can be submitted, and a promise that was not kept is seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from runner.drill_grammar import FAULTS, check_drill, parse_drill
from runner.drill_outcome import Files, judge_run
from runner.drill_scenarios import LAST_STEP, SCENARIOS, Scenario, choose, names
from runner.drill_table import markdown, text
from watchdog.errors import BadInput
from watchdog.records import Cause

KILL = next(s for s in SCENARIOS if s.name == "kill")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_every_scenario_is_a_drill_that_can_happen(scenario: Scenario) -> None:
    faults = parse_drill(scenario.drill)
    check_drill(faults, workers=(2, 2), max_steps=LAST_STEP, is_on_cluster=scenario.needs_nodes)
    assert {*scenario.causes, *scenario.suspects} <= {cause.value for cause in Cause}


def test_every_fault_of_the_grammar_has_a_scenario() -> None:
    drilled = {fault.name for s in SCENARIOS for fault in parse_drill(s.drill)}
    assert drilled == set(FAULTS)


def test_a_subset_brings_what_it_is_compared_with() -> None:
    assert names(choose("hang, kill")) == "untouched,kill,hang"
    assert choose(None) == SCENARIOS
    with pytest.raises(BadInput, match="did you mean 'hang'"):
        choose("hangs")


def step(number: int, t_s: float, generation: int = 0, **fields: Any) -> dict[str, Any]:
    line = {"kind": "step", "rank": 0, "step": number, "t_s": t_s, "generation": generation}
    return {**line, "is_finite": True, **fields}


HEALED = Files(
    ledger=[
        {"kind": "suspect", "t_s": 9.0, "cause": "spike"},
        {"kind": "incident_opened", "t_s": 10.5, "cause": "crash"},
        {"kind": "verdict", "t_s": 10.5, "cause": "crash"},
        {"kind": "recovery_done", "t_s": 14.0, "mechanism": "restart", "tier": "regroup"},
    ],
    trace=[step(119, 9.0), step(120, 9.9), *[step(s, s - 99.0, 1) for s in range(113, 125)]],
    claims=[{"key": "0:kill/rank1", "t_s": 10.0}],
    result={"state": "finished", "steps_lost": 8},
)


def test_a_row_tells_when_it_was_seen_and_when_the_run_went_on() -> None:
    row = judge_run(KILL, HEALED, is_equal=True, seconds=30.0)
    assert row.detected_s == pytest.approx(0.5)
    assert row.recovered_s == pytest.approx(12.0), "step 121 is the first that is new"
    assert (row.causes, row.mechanisms, row.misses) == (("crash",), ("regroup",), ())


@pytest.mark.parametrize(
    ("files", "is_equal", "miss"),
    [
        ({"result": {"state": "halted", "steps_lost": 8}}, True, "ended halted, not finished"),
        ({"result": {"state": "finished", "steps_lost": 49}}, True, "at most 48 were promised"),
        ({"result": {}}, True, "ended lost"),
        ({}, False, "parameters differ"),
        ({}, None, "parameters differ"),
        ({"ledger": []}, True, "verdicts for none, wanted crash"),
        (
            {"ledger": [*HEALED.ledger, {"kind": "verdict", "t_s": 20.0, "cause": "spike"}]},
            True,
            "verdicts for crash, spike",
        ),
        (
            {"ledger": [*HEALED.ledger[:3], {**HEALED.ledger[3], "tier": "in_place"}]},
            True,
            "recovered by in_place",
        ),
        ({"claims": []}, True, "no fault struck"),
    ],
)
def test_a_promise_that_was_not_kept_is_named(
    files: dict[str, Any], is_equal: bool | None, miss: str
) -> None:
    row = judge_run(KILL, dataclasses.replace(HEALED, **files), is_equal=is_equal, seconds=30.0)
    assert any(miss in found for found in row.misses), row.misses
    assert "NOT AS PROMISED" in text([row])
    assert "0 of 1 scenarios" in text([row])


def test_what_should_have_been_told_and_was_not_is_missed() -> None:
    slow = next(s for s in SCENARIOS if s.name == "slow")
    files = dataclasses.replace(HEALED, ledger=[], result={"state": "finished", "steps_lost": 0})
    [miss] = judge_run(slow, files, is_equal=True, seconds=1.0).misses
    assert miss == "straggler was not told"


@pytest.mark.parametrize("ledger", [HEALED.ledger, ()])
def test_what_may_be_there_or_not_is_no_miss(ledger: Sequence[dict[str, Any]]) -> None:
    scenario = dataclasses.replace(KILL, causes=(), mechanisms=(), perhaps=("crash", "regroup"))
    files = dataclasses.replace(HEALED, ledger=ledger)
    assert judge_run(scenario, files, is_equal=True, seconds=1.0).misses == ()


def test_the_table_is_markdown_for_the_documentation() -> None:
    row = judge_run(KILL, HEALED, is_equal=True, seconds=30.0)
    assert markdown([row]).splitlines()[2] == (
        "| kill | 500 ms | regroup | 12.0 s | 8 | finished | equal |"
    )
