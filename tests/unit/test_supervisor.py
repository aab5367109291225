"""The driver over a backend made of a script: what a death between two lines leaves to be done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from runner.backend import AttemptResult
from runner.checkpoints import CheckpointStore
from runner.drill_grammar import parse_drill
from runner.driver_drill import DriverDrill
from runner.phases import Phase
from runner.recovery import AttemptPlan, plan_attempt
from runner.runs import RunFolder
from runner.spec import RunSpec, TrainConfig
from runner.supervisor import Ending, Supervisor
from tests.replay.rig import report
from watchdog.config import WatchdogConfig
from watchdog.host import WatchdogHost
from watchdog.ledger import read_ledger
from watchdog.records import AttemptStarted, Outcome
from watchdog.tiers import RecoveryConfig

SPEC = RunSpec(
    name="template",
    train=TrainConfig(max_steps=40, batch_size=8, lr=0.1),
    recovery=RecoveryConfig(backoff_s=0.0),
)
KILLED = AttemptResult(Outcome.WORKER_DIED, error="killed", rank=1)
DONE = AttemptResult(Outcome.FINISHED, step=40)


class DriverDied(BaseException):
    """SIGKILL, for a driver in this process."""


class ScriptedBackend:
    """Ends its attempts as told, having trained to step 20; `plans` are what it was asked for."""

    def __init__(self, host: WatchdogHost, results: Sequence[AttemptResult]) -> None:
        self._host = host
        self._results = iter(results)
        self.plans: list[AttemptPlan] = []

    def start(self) -> WatchdogHost:
        return self._host

    def run_group(self, group: int) -> AttemptResult:
        history = self._host.history()
        plan = plan_attempt(history, history.pending_verdict, (), ())
        assert plan.attempt == group
        self.plans.append(plan)
        attempt, generation = plan.attempt, plan.generation
        begun = AttemptStarted(t_s=1.0, attempt=attempt, world_size=1, generation=generation)
        steps = [report(s, attempt=attempt, generation=generation) for s in range(1, 21)]
        self._host.exchange([begun, *steps])
        return next(self._results)

    def close(self) -> None:
        pass


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[[], WatchdogHost]]:
    """Return what starts a watchdog over the run's folder, again and again."""
    (tmp_path / "run").mkdir()
    opened: list[WatchdogHost] = []

    def start() -> WatchdogHost:
        opened.append(WatchdogHost(str(tmp_path / "run"), WatchdogConfig(port=0)))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def drive(
    folder: Path,
    host: WatchdogHost,
    backend: ScriptedBackend,
    *,
    is_resumed: bool = False,
    recovering: Callable[[int], None] = lambda step: None,
) -> Ending:
    store = CheckpointStore(str(folder / "checkpoints"))
    run = RunFolder(folder / "run")
    supervisor = Supervisor(run, SPEC, backend, store, lambda: False, recovering)
    return supervisor.drive(host, is_resumed=is_resumed)


def die() -> None:
    raise DriverDied


def kinds(folder: Path, kind: str) -> list[dict[str, object]]:
    return [line for line in read_ledger(folder / "run" / "ledger.jsonl") if line["kind"] == kind]


def test_a_verdict_that_was_written_and_not_carried_out_is_finished_by_the_next_driver(
    tmp_path: Path, host: Callable[[], WatchdogHost]
) -> None:
    first = host()
    drill = DriverDrill(parse_drill("kill_driver@during=recovery"), first.claim, die)
    dying = ScriptedBackend(first, [KILLED])
    with pytest.raises(DriverDied):
        drive(tmp_path, first, dying, recovering=drill.recovering)
    [written] = kinds(tmp_path, "verdict")
    first.close()

    second = host()
    again = DriverDrill(parse_drill("kill_driver@during=recovery"), second.claim, die)
    backend = ScriptedBackend(second, [DONE])
    ending = drive(tmp_path, second, backend, is_resumed=True, recovering=again.recovering)
    assert ending.phase is Phase.FINISHED
    assert [plan.attempt for plan in backend.plans] == [1]
    assert kinds(tmp_path, "verdict") == [written], "the same verdict, written and charged once"
    [done] = kinds(tmp_path, "recovery_done")
    assert done["mechanism"] == "restart"


def test_the_driver_dies_once_for_each_time_it_may(
    tmp_path: Path, host: Callable[[], WatchdogHost]
) -> None:
    died: list[int] = []
    watchdog = host()

    def drill() -> DriverDrill:
        faults = parse_drill("kill_driver@step=5,times=2;nan@step=1")
        return DriverDrill(faults, watchdog.claim, lambda: died.append(1))

    for _ in range(4):  # four drivers after each other
        one = drill()
        for step in (4, 5, 6):
            one.at_step(step)
    assert len(died) == 2


def test_a_crash_loop_ends_in_a_halt(tmp_path: Path, host: Callable[[], WatchdogHost]) -> None:
    watchdog = host()
    backend = ScriptedBackend(watchdog, [KILLED] * 20)
    ending = drive(tmp_path, watchdog, backend)
    assert ending.phase is Phase.HALTED
    assert len(backend.plans) == WatchdogConfig().policy.budgets.crash + 1
    assert "policy.budgets.crash=5" in ending.reason
