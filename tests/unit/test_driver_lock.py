"""Claims about the lock: one driver a run, released by death, and the request to stop."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from runner.driver_lock import (
    clear_stop,
    driver_lock,
    holder,
    is_driven,
    request_stop,
    wait_until_free,
)
from runner.runs import RunFolder
from watchdog.errors import RunLocked


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_a_run_is_driven_while_the_lock_is_held(run: RunFolder) -> None:
    assert not is_driven(run)
    with driver_lock(run, t_s=5.0):
        assert is_driven(run)
        assert holder(run)["pid"] == os.getpid()
        assert holder(run)["started_t_s"] == 5.0
    assert not is_driven(run)


def test_a_second_driver_is_refused_and_told_who_the_first_is(run: RunFolder) -> None:
    with (
        driver_lock(run, t_s=5.0),
        pytest.raises(RunLocked, match=f"driven by process {os.getpid()} on "),
        driver_lock(run, t_s=6.0),
    ):
        pass
    assert holder(run)["started_t_s"] == 5.0


def test_the_lock_is_free_after_an_error(run: RunFolder) -> None:
    with pytest.raises(ValueError, match="boom"), driver_lock(run, t_s=5.0):
        raise ValueError("boom")
    with driver_lock(run, t_s=6.0):
        assert holder(run)["started_t_s"] == 6.0


def test_a_killed_driver_leaves_no_lock(run: RunFolder) -> None:
    code = (
        "import sys, pathlib; from runner.driver_lock import driver_lock;"
        "from runner.runs import RunFolder\n"
        "with driver_lock(RunFolder(pathlib.Path(sys.argv[1])), t_s=1.0):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert is_driven(run)
        assert holder(run)["pid"] == child.pid
        child.kill()
    assert not is_driven(run)


def test_a_torn_lock_file_has_no_holder(run: RunFolder) -> None:
    run.lock.write_text('{"pid": 1', encoding="utf-8")
    assert holder(run) == {}


def test_a_request_to_stop_is_a_file_that_can_be_taken_back(run: RunFolder) -> None:
    request_stop(run)
    assert run.stop_file.exists()
    clear_stop(run)
    clear_stop(run)
    assert not run.stop_file.exists()


def test_waiting_ends_when_the_driver_lets_go(run: RunFolder) -> None:
    with ExitStack() as driver:
        driver.enter_context(driver_lock(run, t_s=5.0))
        assert wait_until_free(run, 1.0, sleep=lambda _: driver.close())


def test_waiting_is_bounded(run: RunFolder) -> None:
    pauses: list[float] = []
    with driver_lock(run, t_s=5.0):
        assert not wait_until_free(run, 1.0, poll_s=0.25, sleep=pauses.append)
    assert pauses == [0.25] * 4
