"""The tiers of a restart on a local Ray cluster: what lives is kept, and the end is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ray.runs import Finished, Submitted

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

STEPS = 400


def submit(runs_dir: Path, name: str, *settings: str, drill: str | None = None) -> Finished:
    drilled = ["--drill", drill] if drill else []
    wanted = " ".join((f"train.max_steps={STEPS} watchdog.port=0", *settings))
    return Submitted(runs_dir, name, "--set", wanted, *drilled).finish(timeout_s=380)


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def untouched(runs_dir: Path) -> Finished:
    return submit(runs_dir, "untouched")


def tiers(run: Finished) -> list[str]:
    return [line["tier"] for line in run.ledger("recovery_done")]


def ray_jobs(run: Finished) -> int:
    """Return how many worker groups there were: each has a job of Ray Train of its own."""
    return len(list((run.folder / "ray").glob("attempt-*")))


def test_exception_deaths_and_both_at_once_are_survived_by_one_worker_group(
    runs_dir: Path, untouched: Finished
) -> None:
    drill = (
        "exception@step=100,rank=1;kill@step=200,rank=1;exception@during=recovery,rank=0,times=1;"
        "kill@step=300,rank=0;exception@step=300,rank=1"
    )
    run = submit(runs_dir, "faults", drill=drill)
    assert run.code == 0, run.output
    assert ray_jobs(run) == 1, "no fault here needs another group"
    assert set(tiers(run)) == {"regroup", "replace"}
    assert all(line["mechanism"] == "restart" for line in run.ledger("recovery_done"))
    assert all(line["from"] == "memory" for line in run.ledger("recovery_done"))
    assert all(line["steps_lost"] <= 8 for line in run.ledger("recovery_done"))
    assert run.result["restarts"] >= 3
    assert run.weights(STEPS) == untouched.weights(STEPS), "no fault may change the end"


def test_a_spare_takes_over_from_a_killed_rank_0(runs_dir: Path, untouched: Finished) -> None:
    run = submit(runs_dir, "spare", "recovery.spares=1", drill="kill@step=200,rank=0")
    assert run.code == 0, run.output
    assert tiers(run) == ["spare"]
    assert ray_jobs(run) == 1
    assert run.result["metrics"] == untouched.result["metrics"]
    assert run.weights(STEPS) == untouched.weights(STEPS)


@pytest.mark.parametrize(
    ("setting", "jobs"), [("recovery.replace=false", 1), ("recovery.replace_s=0.2", 2)]
)
def test_where_a_worker_is_not_replaced_in_time_all_are_restarted(
    runs_dir: Path, untouched: Finished, setting: str, jobs: int
) -> None:
    run = submit(runs_dir, setting.partition("=")[0], setting, drill="kill@step=200,rank=1")
    assert run.code == 0, run.output
    assert [line["outcome"] for line in run.ledger("attempt_ended")] == ["worker_died", "finished"]
    [verdict] = run.ledger("verdict")
    assert (verdict["cause"], verdict["action"], verdict["lr_scale"]) == ("crash", "restart", 1.0)
    [done] = run.ledger("recovery_done")
    assert (done["mechanism"], done["tier"], done["from"]) == ("restart", "restart", "memory")
    assert done["steps_lost"] <= 2 * 8 + 40  # the newest copy outside, and telemetry in flight
    assert ray_jobs(run) == jobs, "Ray starts all anew in the same job, where it can at all"
    assert run.weights(STEPS) == untouched.weights(STEPS)
