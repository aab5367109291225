"""A copy of a run elsewhere equals the run, whatever the run does meanwhile."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.driver_lock import driver_lock, holder, is_driven
from runner.frames import Decoder, Frame, Framed, Kind, encode
from runner.run_copy import Part, RunCopy, Sender, send
from runner.runs import RunFolder
from watchdog.errors import BadInput


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "there" / "one")
    (folder.path / "logs").mkdir(parents=True)
    (folder.path / "checkpoints").mkdir()
    (folder.path / "checkpoints" / "state.pt").write_text("weights")
    folder.job_yaml.write_text("name: template\n")
    folder.ledger.write_text('{"kind": "run_started"}\n')
    folder.trace.write_text("x" * 200_000)
    (folder.logs / "attempt_0_rank_0.log").write_text("hello\n")
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[RunCopy]:
    made = RunCopy(RunFolder(tmp_path / "here" / "one"))
    yield made
    made.close()


def bring(sender: Sender, copy: RunCopy) -> None:
    for line in sender.lines():
        copy.take(line)


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "driver.lock"
    }


def test_a_copy_has_all_but_the_checkpoints(run: RunFolder, copy: RunCopy) -> None:
    bring(Sender(run, {}), copy)
    expected = files(run.path)
    del expected["checkpoints/state.pt"]
    assert files(copy.run.path) == expected


def test_a_copy_follows_what_grows_and_what_is_replaced(run: RunFolder, copy: RunCopy) -> None:
    sender = Sender(run, {})
    bring(sender, copy)
    with run.ledger.open("a") as ledger:
        ledger.write('{"kind": "run_ended"}\n')
    run.result.write_text('{"state": "finished"}')
    bring(sender, copy)
    assert copy.run.ledger.read_text() == run.ledger.read_text()
    assert copy.run.result.read_text() == run.result.read_text()
    assert list(sender.lines()) == []


def test_another_sender_goes_on_where_the_copy_ends(run: RunFolder, copy: RunCopy) -> None:
    bring(Sender(run, {}), copy)
    with run.trace.open("a") as trace:
        trace.write("the end")
    lines = list(Sender(run, copy.have).lines())
    assert sum("trace.jsonl" in line for line in lines) == 1
    for line in lines:
        copy.take(line)
    assert copy.run.trace.read_text() == run.trace.read_text()


def test_a_file_that_began_anew_is_copied_anew(run: RunFolder, copy: RunCopy) -> None:
    bring(Sender(run, {}), copy)
    run.trace.write_text("short")
    bring(Sender(run, copy.have), copy)
    assert copy.run.trace.read_text() == "short"


def test_the_copy_of_a_driven_run_is_driven(run: RunFolder, copy: RunCopy) -> None:
    sender = Sender(run, {})
    with driver_lock(run, t_s=1.0):
        bring(sender, copy)
        assert is_driven(copy.run)
        assert holder(copy.run) == holder(run)
    bring(sender, copy)
    assert not is_driven(copy.run)


def test_a_copy_stays_driven_while_another_driver_is_to_follow(
    run: RunFolder, copy: RunCopy
) -> None:
    copy.is_kept = lambda: True
    bring(Sender(run, {}), copy)
    assert is_driven(copy.run)
    copy.is_kept = lambda: False
    bring(Sender(run, copy.have), copy)
    assert not is_driven(copy.run)


def test_sending_ends_with_the_driver(run: RunFolder) -> None:
    pauses: list[int] = []
    said: list[str] = []
    with driver_lock(run, t_s=1.0):
        send(run, {}, said.append, looks=3, pause=lambda: pauses.append(1))
    assert len(pauses) == 2
    assert said[-2:] == ["\n", "\n"], "nothing is news, and is said"
    send(run, {}, said.append, looks=3, pause=lambda: pauses.append(1))
    assert len(pauses) == 2


def test_only_the_logs_and_only_the_report(run: RunFolder) -> None:
    run.report.write_text("<html>")
    assert not any("trace.jsonl" in line for line in Sender(run, {}, Part.LOGS).lines())
    *pieces, driven = Sender(run, {}, Part.REPORT).lines()
    assert [json.loads(piece)["file"] for piece in pieces] == ["report.html"]
    assert json.loads(driven)["driven"] is False


def piece(name: str, content: bytes = b"x") -> str:
    data = base64.b64encode(zlib.compress(content)).decode()
    return json.dumps({"file": name, "at": 0, "data": data})


@pytest.mark.parametrize(
    "line",
    ["", "[]", "{}", piece("../../.bashrc"), piece("/etc/passwd"), piece("logs/../../x"),
     piece(".hidden"), piece("driver.lock"), piece("checkpoints/step_1/state.pt"),
     piece("ledger.jsonl", b"x" * 10_000_000), piece("a").replace("eJ", "!!"),
     json.dumps({"file": "a", "at": "0", "data": ""}), json.dumps({"file": 3})],
)  # fmt: skip
def test_what_is_no_part_of_a_run_is_refused(copy: RunCopy, line: str) -> None:
    with pytest.raises(BadInput, match="the cluster sent"):
        copy.take(line)
    assert not copy.run.path.exists()


PARTS = st.lists(st.sampled_from(["..", "/", "logs", "a", ".", "\n", "\0", "~", "stacks", "\\"]))


@given(st.text() | PARTS.map("".join))
def test_a_copy_writes_nothing_outside_of_its_folder(name: str) -> None:
    # Below a device nothing can be made, so a name that is taken is known by the error.
    copy = RunCopy(RunFolder(Path("/dev/null/one")))
    with pytest.raises((BadInput, NotADirectoryError)) as caught:
        copy.take(piece(name))
    if caught.type is NotADirectoryError:
        assert os.path.normpath(f"/runs/one/{name}") == f"/runs/one/{name}"


@given(st.lists(st.text()), st.integers(1, 50), st.text(alphabet='abc{}"\n @:', max_size=30))
def test_frames_come_out_of_a_log_as_they_went_in(
    texts: list[str], piece_size: int, noise: str
) -> None:
    log = "".join(f"{noise}\n{encode(Frame(Kind.OUT, text))}" for text in texts)
    decoder = Decoder()
    pieces = [log[i : i + piece_size] for i in range(0, len(log), piece_size)]
    found = [frame.text for part in pieces for frame in decoder.feed(part)]
    assert found == texts


def test_long_output_is_cut_into_lines_that_a_log_carries() -> None:
    class Log(list[str]):
        def write(self, text: str) -> int:
            self.append(text)
            return len(text)

        def flush(self) -> None:
            pass

    log = Log()
    Framed(Kind.ERR, log).write("x" * 50_000)  # type: ignore[arg-type]
    assert max(map(len, log)) < 20_000
    assert "".join(f.text for f in Decoder().feed("".join(log))) == "x" * 50_000
