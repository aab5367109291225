import json
import logging
import math
from pathlib import Path

import pytest

from tests.replay.rig import report
from watchdog.errors import TraceError
from watchdog.ledger import Ledger, read_ledger, verdicts
from watchdog.records import Action, Cause, LedgerEntry, LedgerKind, Verdict
from watchdog.trace import TraceWriter, read_trace


def entry(step: int) -> LedgerEntry:
    return LedgerEntry(
        kind=LedgerKind.CHECKPOINT_TRUSTED,
        t_s=1.0,
        attempt=0,
        step=step,
        data={"storage": "durable"},
    )


VERDICT = Verdict(
    verdict_id=1,
    t_s=2.0,
    attempt=0,
    generation=0,
    step=47,
    cause=Cause.NONFINITE,
    action=Action.ROLLBACK,
    reason="NaN",
    onset_step=45,
    skip_samples=(4, 5),
    trusted_steps=(8, 16),
)


def write(path: Path, *items: LedgerEntry | Verdict) -> None:
    ledger = Ledger(path)
    ledger.append(items)
    ledger.close()


def test_lines_hold_the_fields_of_the_contract(tmp_path: Path) -> None:
    write(tmp_path / "l", entry(20), VERDICT)
    first, second = read_ledger(tmp_path / "l")
    assert first == {
        "t_s": 1.0,
        "kind": "checkpoint_trusted",
        "attempt": 0,
        "step": 20,
        "storage": "durable",
    }
    needed = {"kind", "t_s", "attempt", "step", "cause", "action", "reason", "onset_step"}
    assert {*needed, "lr_scale"} <= set(second)


def test_verdict_survives_the_ledger(tmp_path: Path) -> None:
    write(tmp_path / "l", entry(20), VERDICT)
    assert verdicts(read_ledger(tmp_path / "l")) == [VERDICT]


def test_torn_last_line_is_dropped_once_and_the_next_one_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "l"
    write(path, entry(20))
    with path.open("a") as file:
        file.write('{"kind": "verd')
    assert [line["step"] for line in read_ledger(path)] == [20]
    with caplog.at_level(logging.WARNING):
        write(path, entry(40))
    assert [line["step"] for line in read_ledger(path)] == [20, 40]
    assert len(caplog.records) == 1


def test_line_in_the_middle_that_is_no_json_is_an_error_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "l"
    path.write_text('{"kind": "a"}\nrubbish\n{"kind": "b"}\n')
    with pytest.raises(TraceError, match=r"line 2 of .*l is not JSON"):
        read_ledger(path)


def test_missing_ledger_is_empty(tmp_path: Path) -> None:
    assert read_ledger(tmp_path / "l") == []


def test_verdict_of_another_version_is_a_clear_error() -> None:
    with pytest.raises(TraceError, match="verdict 7 of the ledger cannot be read"):
        verdicts([{"kind": "verdict", "verdict_id": 7, "cause": "gremlins"}])


def test_trace_gives_back_every_record_nan_included(tmp_path: Path) -> None:
    path = tmp_path / "t"
    records = [report(1, 2.0, sample_ids=(3, 4)), report(2, math.nan)]
    writer = TraceWriter(path)
    writer.write(records[:1])
    writer.write(records[1:])
    writer.write([])
    writer.close()
    first, second = read_trace(path)
    assert first == records[0]
    assert repr(second) == repr(records[1])


def test_trace_with_a_half_written_end_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text(json.dumps(report(1).to_json()) + '\n{"kind": "st')
    trace = read_trace(path)
    assert len(list(trace)) == 1
    assert trace.is_torn
    whole = read_trace(path)
    path.write_text(json.dumps(report(1).to_json()) + "\n")
    assert len(list(whole)) == 1
    assert not whole.is_torn


@pytest.mark.parametrize(
    "line",
    ['{"kind": "gossip", "t_s": 1}', '{"kind": "tick"}', '{"t_s": 1}', "[1, 2]", "3", "{]"],
)
def test_line_that_is_no_record_is_an_error_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "t"
    path.write_text('{"kind": "tick", "t_s": 1.0}\n\n' + line + "\n")
    with pytest.raises(TraceError, match="line 3"):
        list(read_trace(path))
