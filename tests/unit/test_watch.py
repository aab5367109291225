"""The live view: it follows the files of a run, fits any terminal, and leaves the run alone."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from runner.driver_lock import driver_lock
from runner.run_feed import RunFeed
from runner.runs import RunFolder
from runner.watch import Watch, watch_plain, watch_run
from runner.watch_view import screen
from tests.unit.sample_run import LAST_STEP, START_S, json_lines, ledger, records, write_run

#: Of the sample run: two thirds of the trace, and the ledger without its end.
HALF = 300


def living(folder: Path) -> RunFolder:
    """Return the sample run as it was half-way."""
    write_run(folder)
    (folder / "trace.jsonl").write_text(json_lines([r.to_json() for r in records()[:HALF]]))
    (folder / "ledger.jsonl").write_text(json_lines(ledger()[:10]))
    return RunFolder(folder)


def plain(run: RunFolder, *, is_alive: Callable[[], bool] = lambda: False) -> tuple[int, str]:
    out = io.StringIO()
    console = Console(file=out, width=80)
    code = watch_run(run, console, clock=lambda: START_S + 200, is_alive=is_alive)
    return code, out.getvalue()


def test_away_from_a_terminal_each_change_is_a_line(tmp_path: Path) -> None:
    code, text = plain(RunFolder(write_run(tmp_path / "sample")))
    assert code == 0
    lines = text.splitlines()
    assert "incident nonfinite opened at step 42" in text
    assert any("verdict rollback" in line for line in lines)
    assert lines[-3] == f"sample finished at step {LAST_STEP}: all steps made"
    assert "rollbacks 1, restarts 1" in lines[-2]
    assert lines[-1] == "make report RUN=sample"
    assert "\x1b" not in text


@pytest.mark.parametrize(("state", "code"), [("halted", 3), ("stopped", 130), ("failed", 1)])
def test_the_exit_code_is_that_of_the_run(tmp_path: Path, state: str, code: int) -> None:
    run = RunFolder(write_run(tmp_path / "sample"))
    lines = ledger()
    lines[-1]["state"] = state
    run.ledger.write_text(json_lines(lines))
    assert plain(run)[0] == code


def test_a_run_without_an_end_and_without_a_driver_is_told_how_to_go_on(tmp_path: Path) -> None:
    code, text = plain(living(tmp_path / "cut"))
    assert code == 1
    assert "make resume RUN=cut" in text


def test_what_is_written_while_it_is_watched_is_shown_once_and_whole(tmp_path: Path) -> None:
    run = living(tmp_path / "live")
    rest = run_text()[len(run.ledger.read_text()) :]
    pieces = [rest[i : i + 150] for i in range(0, len(rest), 150)]
    said: list[str] = []

    def write_on(timeout_s: float) -> str:
        """Between two looks, append a piece that ends anywhere."""
        with run.ledger.open("a") as file:
            file.write(pieces.pop(0))
        return ""

    watch = Watch(run, clock=lambda: START_S + 200, is_alive=lambda: True)
    assert watch_plain(watch, said.append, write_on)
    text = "\n".join(said)
    assert text.count("attempt 1 started") == 1
    assert text.count("run finished") == 1
    assert pieces == []


def run_text() -> str:
    return json_lines(ledger())


def test_a_driver_that_is_gone_is_waited_for_a_while(tmp_path: Path) -> None:
    run = living(tmp_path / "orphan")
    now_s = START_S + 60
    watch = Watch(run, clock=lambda: now_s, is_alive=lambda: False)
    watch.look()
    assert not watch.is_over
    assert "driver is gone" in watch.notice
    now_s = START_S + 200
    watch.look()
    assert watch.is_over


def test_a_trace_too_long_to_be_read_whole_is_shown_from_samples(tmp_path: Path) -> None:
    feed = RunFeed(RunFolder(write_run(tmp_path / "long")), max_whole_bytes=10_000)
    feed.look()
    state = feed.state
    assert (state.step, state.phase, state.generation) == (LAST_STEP, "finished", 2)
    assert state.counts == {"incidents": 1, "rollbacks": 1, "restarts": 1}
    assert state.goodput_ratio is None  # records were left out
    assert state.curves.loss.points[0][0] < 10
    assert state.curves.loss.points[-1][0] == LAST_STEP


def test_a_run_of_the_same_name_that_begins_anew_is_shown_anew(tmp_path: Path) -> None:
    run = RunFolder(write_run(tmp_path / "sample"))
    feed = RunFeed(run)
    feed.look()
    living(run.path)
    feed.look()
    assert feed.state.end is None
    assert feed.state.step < LAST_STEP


def test_texts_of_a_file_cannot_steer_the_terminal(tmp_path: Path) -> None:
    run = RunFolder(write_run(tmp_path / "hostile"))
    lines = ledger()
    for line in lines:
        line["reason"] = "\x1b]0;owned\x07\x1b[2J[bold]\u202e"
    run.ledger.write_text(json_lines(lines))
    _, text = plain(run)
    assert "owned" in text
    assert "[bold]" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


@pytest.mark.parametrize(("width", "height"), [(200, 60), (120, 36), (80, 24), (40, 12), (10, 4)])
def test_the_screen_fits_any_terminal(tmp_path: Path, width: int, height: int) -> None:
    run = living(tmp_path / "live")
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, color_system=None)
    feed = RunFeed(run)
    feed.look()
    console.print(screen(feed.state, width, height, "notice"))
    lines = out.getvalue().splitlines()
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width


def _outer() -> dict[str, str]:
    """Return our environment without a size, which would be taken for the terminal's."""
    return {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}


class Terminal:
    """A watch in a terminal of its own; reads what it draws until some text has come."""

    def __init__(self, folder: Path, *, size: tuple[int, int], **environment: str) -> None:
        self._handle, inner = pty.openpty()
        self.resize(*size)
        command = [sys.executable, "-m", "runner", "watch", folder.name]
        self.process = subprocess.Popen(
            [*command, "--runs-dir", str(folder.parent)],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**_outer(), "TERM": "xterm-256color", **environment},
        )
        os.close(inner)
        self.drawn = ""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._handle, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._handle, keys.encode())

    def wait_for(self, text: str) -> None:
        while text not in self.drawn:
            chunk = self._read()
            assert chunk, f"{text!r} never came: {self.drawn[-2000:]}"
            self.drawn += chunk

    def end(self) -> int:
        while chunk := self._read():
            self.drawn += chunk
        os.close(self._handle)
        return self.process.wait()

    def _read(self) -> str:
        ready, _, _ = select.select([self._handle], [], [], 60)
        try:
            return os.read(self._handle, 65536).decode(errors="replace") if ready else ""
        except OSError:  # the other side is gone
            return ""


def test_a_living_run_is_drawn_resized_and_left_alone_when_the_view_is_closed(
    tmp_path: Path,
) -> None:
    run = living(tmp_path / "live")
    with driver_lock(run, t_s=START_S):
        before = {path: path.read_bytes() for path in run.path.iterdir()}
        terminal = Terminal(run.path, size=(60, 20))
        terminal.wait_for("loss")
        terminal.resize(130, 40)
        terminal.wait_for("learning rate")  # there was no room for it
        terminal.press("q")
        assert terminal.end() == 0
        assert "run live was left alone" in terminal.drawn
        assert "\x1b[?1049l" in terminal.drawn  # the screen from before is back
        assert {path: path.read_bytes() for path in run.path.iterdir()} == before


def test_without_colours_the_screen_is_drawn_all_the_same(tmp_path: Path) -> None:
    terminal = Terminal(write_run(tmp_path / "sample"), size=(100, 30), NO_COLOR="1")
    assert terminal.end() == 0
    assert "validation metric" in terminal.drawn
    assert f"finished at step {LAST_STEP}" in terminal.drawn
    assert "\x1b[31m" not in terminal.drawn
    assert "\x1b[36m" not in terminal.drawn
