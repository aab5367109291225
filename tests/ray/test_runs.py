"""Whole runs on a local Ray cluster, on two workers: healthy, drilled, killed, stopped, resumed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.ray.runs import Finished, Submitted, descendants, name_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

STEPS = 400
#: So that a run is still under way when the test has seen the step before; a resume is quick again.
DAWDLE = "slow@step={},factor=20"


def submit(
    runs_dir: Path, name: str, *settings: str, drill: str | None = None, steps: int = STEPS
) -> Submitted:
    drilled = ["--drill", drill] if drill else []
    wanted = " ".join((f"train.max_steps={steps} watchdog.port=0", *settings))
    return Submitted(runs_dir, name, "--set", wanted, *drilled)


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def untouched(runs_dir: Path) -> Finished:
    return submit(runs_dir, "untouched").finish()


def clean_steps(run: Finished) -> dict[int, int]:
    """Return the last generation in which each step was reported by rank 0."""
    newest: dict[int, int] = {}
    for line in run.trace("step"):
        if line["rank"] == 0:
            newest[line["step"]] = max(newest.get(line["step"], 0), line["generation"])
    return newest


def test_a_healthy_run_finishes_and_leaves_every_file(untouched: Finished) -> None:
    assert untouched.code == 0, untouched.output
    result = untouched.result
    assert result["state"] == "finished"
    assert result["step"] == STEPS
    assert result["metrics"]["accuracy"] > result["trivial_metrics"]["accuracy"] + 0.2
    assert (result["incidents"], result["rollbacks"], result["restarts"]) == (0, 0, 0)
    assert 0 < result["goodput_ratio"] <= 1
    for name in ("job.yaml", "ledger.jsonl", "trace.jsonl", "report.html", "tensorboard"):
        assert (untouched.folder / name).exists(), name
    assert untouched.ledger()[0]["kind"] == "run_started"
    assert untouched.ledger()[-1]["kind"] == "run_ended"
    assert sorted(clean_steps(untouched)) == list(range(1, STEPS + 1))


def test_both_ranks_report_every_step(untouched: Finished) -> None:
    seen = {(line["rank"], line["step"]) for line in untouched.trace("step")}
    assert seen == {(rank, step) for rank in (0, 1) for step in range(1, STEPS + 1)}


def test_a_nan_burst_is_healed_in_place(runs_dir: Path) -> None:
    run = submit(runs_dir, "nan", drill="nan@step=200,count=5").finish()
    assert run.code == 0, run.output
    verdict, *lifts = run.ledger("verdict")
    assert (verdict["cause"], verdict["action"]) == ("nonfinite", "rollback")
    assert {(line["action"], line["lr_scale"]) for line in lifts} <= {("continue", 1.0)}
    assert verdict["onset_step"] == 200
    assert verdict["lr_scale"] == 0.5
    [done] = run.ledger("recovery_done")
    assert (done["mechanism"], done["from"]) == ("in_place", "memory")
    assert done["restored_step"] < 200
    assert done["steps_lost"] <= 40
    assert len(done["skipped_samples"]) >= 3 * 32
    kinds = [line["kind"] for line in run.ledger()]
    assert kinds.index("verdict") < kinds.index("recovery_done") < kinds.index("incident_closed")
    assert run.ledger("proof")[0]["helped"] is True
    assert run.result["rollbacks"] == 1
    assert run.result["restarts"] == 0
    assert sorted(clean_steps(run)) == list(range(1, STEPS + 1))
    skipped = set(done["skipped_samples"])
    after = [line for line in run.trace("step") if line["generation"] == 1]
    assert not skipped & {sample for line in after for sample in line["sample_ids"]}


def test_a_crash_loop_halts_with_a_diagnosis(runs_dir: Path) -> None:
    budget = "watchdog.policy.budgets.crash=1"  # each restart costs a cluster's start-up here
    endless = "exception@step=100,times=99"
    run = submit(runs_dir, "loop", budget, drill=endless, steps=150).finish()
    assert run.code == 3, run.output
    assert run.result["state"] == "halted"
    assert run.ledger("verdict")[-1]["action"] == "halt"
    assert "DrillError" in run.output or "drill: exception" in run.output


def test_ctrl_c_stops_cleanly_and_resume_ends_like_an_untouched_run(
    runs_dir: Path, untouched: Finished
) -> None:
    run = submit(runs_dir, "stopped", drill=DAWDLE.format(41))
    run.wait_for_step(40)
    run.interrupt()
    stopped = run.finish()
    assert stopped.code == 130, stopped.output
    assert stopped.result["state"] == "stopped"
    assert 40 <= stopped.result["step"] < STEPS
    resumed = Submitted(runs_dir, "stopped", command="resume").finish()
    assert resumed.code == 0, resumed.output
    assert resumed.result["step"] == STEPS
    assert resumed.weights(STEPS) == untouched.weights(STEPS)
    assert sorted(clean_steps(resumed)) == list(range(1, STEPS + 1))


def test_a_killed_driver_is_survived_by_resume(runs_dir: Path, untouched: Finished) -> None:
    run = submit(runs_dir, "orphan", drill=DAWDLE.format(131))
    run.wait_for_step(130)  # past the first durable checkpoint
    run.process.kill()
    run.process.communicate()
    resumed = Submitted(runs_dir, "orphan", command="resume").finish()
    assert resumed.code == 0, resumed.output
    assert resumed.weights(STEPS) == untouched.weights(STEPS)


def test_training_does_not_notice_the_death_of_its_watchdog(
    runs_dir: Path, untouched: Finished
) -> None:
    run = submit(runs_dir, "blind", drill="nan@step=300,count=5")
    run.wait_for_step(40)
    [watchdog] = [pid for pid in descendants(run.process.pid) if "WatchdogHost" in name_of(pid)]
    os.kill(watchdog, signal.SIGKILL)
    finished = run.finish()
    assert finished.code == 0, finished.output
    assert len(finished.ledger("attempt_started")) == 1
    assert [line["action"] for line in finished.ledger("verdict")][:1] == ["rollback"]
    assert {line["cause"] for line in finished.ledger("verdict")} == {"nonfinite"}
    assert sorted(clean_steps(finished)) == list(range(1, STEPS + 1))
