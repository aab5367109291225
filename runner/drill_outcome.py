"""What a drilled run came to, read from the files it left, and whether that is what was promised.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runner.drill_scenarios import Scenario

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The lines of a run's files. `claims` say when each fault struck."""

    ledger: Sequence[Line]
    trace: Sequence[Line]
    claims: Sequence[Line]
    result: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. Seconds count from the first fault; None: it does not apply.

    `is_equal` None: the parameters of the untouched run are not known. `misses` are the promises
    that were not kept, each a sentence; none means survived.
    """

    name: str
    drill: str
    detected_s: float | None
    causes: tuple[str, ...]
    mechanisms: tuple[str, ...]
    recovered_s: float | None
    steps_lost: int | None
    state: str
    is_equal: bool | None
    seconds: float
    misses: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the row as one flat JSON object."""
        return asdict(self)


def judge_run(scenario: Scenario, files: Files, *, is_equal: bool | None, seconds: float) -> Row:
    """Return the row of a run; `seconds` is its whole wall time, every driver counted."""
    struck_s = _struck_t_s(scenario, files)
    verdicts = _of(files.ledger, "verdict")
    recoveries = _of(files.ledger, "recovery_done")
    row = Row(
        name=scenario.name,
        drill=scenario.drill,
        detected_s=_detected_s(scenario, files.ledger, struck_s),
        causes=_distinct(str(line["cause"]) for line in verdicts),
        mechanisms=_distinct(_mechanism(line) for line in recoveries),
        recovered_s=_recovered_s(files.trace, struck_s),
        steps_lost=files.result.get("steps_lost"),
        state=str(files.result.get("state", "lost")),
        is_equal=is_equal,
        seconds=seconds,
        misses=(),
    )
    misses = tuple(_misses(scenario, files, row))
    return Row(**{**{name: getattr(row, name) for name in row.__slots__}, "misses": misses})


def _misses(scenario: Scenario, files: Files, row: Row) -> Iterable[str]:
    if row.state != scenario.state:
        yield f"it ended {row.state}, not {scenario.state}: {files.result.get('reason', '')}"
    strange = set(row.causes) - {*scenario.causes, *scenario.perhaps}
    if strange or (scenario.causes and not row.causes):
        yield f"verdicts for {_listed(row.causes)}, wanted {_listed(scenario.causes)}"
    strange = set(row.mechanisms) - {*scenario.mechanisms, *scenario.perhaps}
    if strange or (scenario.mechanisms and not row.mechanisms):
        yield f"recovered by {_listed(row.mechanisms)}, wanted {_listed(scenario.mechanisms)}"
    if row.steps_lost is None or row.steps_lost > scenario.most_steps_lost:
        yield f"{row.steps_lost} steps lost, at most {scenario.most_steps_lost} were promised"
    told = {str(line["cause"]) for line in _of(files.ledger, "suspect")}
    for cause in scenario.suspects:
        if cause not in told:
            yield f"{cause} was not told"
    if len(_of(files.ledger, "checkpoint_quarantined")) < scenario.quarantined:
        yield "the damaged checkpoint was not quarantined"
    if scenario.is_equal and row.is_equal is not True:
        yield "the parameters differ from those of the untouched run"
    if scenario.drill and _struck_t_s(scenario, files) is None:
        yield "no fault struck"


def _of(lines: Iterable[Line], kind: str) -> list[Line]:
    return [line for line in lines if line["kind"] == kind]


def _mechanism(line: Line) -> str:
    return str(line.get("tier") or line["mechanism"])


def _struck_t_s(scenario: Scenario, files: Files) -> float | None:
    """Return when the first fault struck: its claim, or for bad samples the first bad step."""
    times = [float(line["t_s"]) for line in files.claims if "t_s" in line]
    if "nan_batch" in scenario.drill:
        times += [float(x["t_s"]) for x in _of(files.trace, "step") if not x["is_finite"]]
    return min(times, default=None)


def _detected_s(scenario: Scenario, ledger: Iterable[Line], struck_s: float | None) -> float | None:
    """Return the seconds until the ledger first speaks of what this scenario is about."""
    if struck_s is None:
        return None

    def is_notice(line: Line) -> bool:
        match line["kind"]:
            case "incident_opened":
                return line["cause"] in scenario.causes
            case "suspect":
                return line["cause"] in scenario.suspects
            case kind:
                return bool(kind == "checkpoint_quarantined")

    after = [float(x["t_s"]) for x in ledger if is_notice(x) and x["t_s"] >= struck_s]
    return min(after) - struck_s if after else None


def _recovered_s(trace: Iterable[Line], struck_s: float | None) -> float | None:
    """Return the seconds until rank 0 takes a step that the run had not reached before.

    Without a recovery that is the next step; after one, the first beyond the newest of before.
    """
    if struck_s is None:
        return None
    steps = [line for line in _of(trace, "step") if line["rank"] == 0]
    before = [line for line in steps if line["t_s"] < struck_s]
    generation = before[-1]["generation"] if before else 0
    later = [line for line in steps if line["generation"] > generation]
    if later:
        reached = max((x["step"] for x in steps if x["generation"] <= generation), default=0)
    else:
        reached = max((x["step"] for x in before), default=0)
        later = steps
    fresh = [x["t_s"] for x in later if x["step"] > reached and x["t_s"] >= struck_s]
    return min(fresh) - struck_s if fresh else None


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) or "none"
