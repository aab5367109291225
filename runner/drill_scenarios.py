"""The game day: every fault of the catalogue against a small job, and what must come of it.

A scenario is data. Its expectations are what the run promises, so a row that is not met fails the
whole: the state it ends in, who answers and how, the steps that may be lost, and whether the
parameters must end bit for bit as if nothing had happened.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from watchdog.errors import BadInput

#: The last step of each run, and the settings of all of them.
LAST_STEP = 400
SETTINGS = (
    f"train.max_steps={LAST_STEP} train.eval_every_steps=200 watchdog.port=0 "
    "checkpoints.every_steps=40 checkpoints.memory_every_steps=8 "
    "watchdog.detectors.hang.min_s=3 watchdog.detectors.hang.start_s=300"
)
#: One memory interval, and the reports that were on their way when the worker died.
_INTERVAL = 8 + 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run and what it promises.

    `causes` are those of its verdicts, in order of first appearance; `mechanisms` those of its
    recoveries (in_place, or a tier of a restart: any that is named will do). `suspects` are causes
    that are told and not acted on. `is_equal`: the parameters end as untouched. `resumes` is how
    often the driver dies. `is_alone`: on a Ray of its own, which dies with its driver. `perhaps`
    are causes and mechanisms that may be there or not.
    """

    name: str
    drill: str
    causes: tuple[str, ...] = ()
    mechanisms: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()
    quarantined: int = 0
    state: str = "finished"
    most_steps_lost: int = 0
    is_equal: bool = True
    resumes: int = 0
    is_alone: bool = False
    needs_nodes: bool = False
    perhaps: tuple[str, ...] = ()
    settings: str = ""


_ANY_RESTART = ("regroup", "spare", "replace", "restart")
_IN_PLACE = ("in_place",)
#: A local Ray outlives its driver by some two seconds. Then its workers may die before the
#: watchdog, which takes that for a crash.
_AFTERLIFE = ("crash", "restart")

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(name="untouched", drill=""),
    Scenario(name="nan_once", drill="nan@step=120", is_equal=False),
    Scenario(
        name="nan",
        drill="nan@step=120,count=5",
        causes=("nonfinite",),
        mechanisms=_IN_PLACE,
        most_steps_lost=_INTERVAL,
        is_equal=False,
    ),
    Scenario(
        name="nan_weights",
        drill="nan_weights@step=120",
        causes=("nonfinite",),
        mechanisms=_IN_PLACE,
        most_steps_lost=_INTERVAL,
        is_equal=False,
    ),
    Scenario(
        name="nan_batch",
        drill="nan_batch@step=120,count=4",
        causes=("nonfinite",),
        mechanisms=_IN_PLACE,
        most_steps_lost=_INTERVAL,
        is_equal=False,
    ),
    # The losses of this job differ from each other by more than ten times, on some processors.
    Scenario(
        name="spike",
        drill="spike@step=40,count=2,factor=100",
        suspects=("spike",),
        is_equal=False,
    ),
    Scenario(
        name="lr",
        drill="lr@step=120,factor=1000",  # a hundred times are healed by clipping and Adam alone
        causes=("spike", "divergence"),
        mechanisms=_IN_PLACE,
        most_steps_lost=120,
        is_equal=False,
    ),
    Scenario(
        name="exception",
        drill="exception@step=120,rank=1",
        causes=("crash",),
        mechanisms=_ANY_RESTART,
        most_steps_lost=_INTERVAL,
    ),
    Scenario(
        name="kill",
        drill="kill@step=120,rank=1",
        causes=("crash",),
        mechanisms=_ANY_RESTART,
        most_steps_lost=_INTERVAL,
    ),
    Scenario(
        name="hang",
        drill="hang@step=120,rank=1",
        causes=("stall",),
        mechanisms=_ANY_RESTART,
        most_steps_lost=_INTERVAL,
    ),
    Scenario(name="slow", drill="slow@step=100,rank=1,factor=4", suspects=("straggler",)),
    Scenario(
        name="oom",
        drill="oom@step=120,rank=1",
        causes=("out_of_memory",),
        mechanisms=_ANY_RESTART,
        most_steps_lost=_INTERVAL,
        is_equal=False,  # a sum of two halves is rounded differently
    ),
    Scenario(
        name="kill_node",
        drill="kill_node@step=120",
        causes=("node_lost", "crash"),
        mechanisms=_ANY_RESTART,
        most_steps_lost=_INTERVAL,
        needs_nodes=True,
    ),
    Scenario(name="kill_watchdog", drill="kill_watchdog@step=120"),
    Scenario(
        name="kill_driver",
        drill="kill_driver@step=120",
        resumes=1,
        is_alone=True,
        perhaps=_AFTERLIFE,
        most_steps_lost=LAST_STEP,
    ),
    Scenario(
        name="corrupt_checkpoint",
        # Slow, so that whole checkpoints do not follow while the workers outlive their driver.
        drill="corrupt_checkpoint@step=80,times=4;kill_driver@step=80,during=checkpoint;"
        "slow@step=81,factor=30",
        quarantined=1,
        resumes=1,
        is_alone=True,
        perhaps=_AFTERLIFE,
        most_steps_lost=LAST_STEP,
    ),
    Scenario(name="disk_full", drill="disk_full@step=100,count=150"),
    Scenario(
        name="several",
        drill="nan@step=80,count=5;kill@step=180,rank=1;exception@step=280",
        causes=("nonfinite", "crash"),
        mechanisms=(*_IN_PLACE, *_ANY_RESTART),
        most_steps_lost=3 * _INTERVAL,
        is_equal=False,
    ),
    Scenario(
        name="both_workers",
        drill="kill@step=120,rank=0;kill@step=120,rank=1",
        causes=("crash",),
        mechanisms=_ANY_RESTART,
        most_steps_lost=_INTERVAL,
    ),
    Scenario(
        name="in_restart",
        drill="kill@step=120,rank=1;kill@during=recovery,rank=0",
        causes=("crash",),
        mechanisms=_ANY_RESTART,
        most_steps_lost=2 * _INTERVAL,
    ),
    Scenario(
        name="in_rollback",
        drill="nan@step=120,count=5;kill@during=recovery,rank=1",
        causes=("nonfinite",),
        mechanisms=_ANY_RESTART,
        most_steps_lost=_INTERVAL,
        is_equal=False,
    ),
    Scenario(
        name="in_checkpoint",
        drill="kill@during=checkpoint,step=120,rank=0",
        causes=("crash",),
        mechanisms=_ANY_RESTART,
        most_steps_lost=_INTERVAL,
    ),
    Scenario(
        name="before_checkpoint",
        drill="kill@step=3,rank=1",
        causes=("crash",),
        mechanisms=_ANY_RESTART,
        most_steps_lost=_INTERVAL,
    ),
    Scenario(
        name="verdict_then_driver",
        drill="oom@step=120,rank=1,factor=0.25,times=9;kill_driver@during=recovery",
        causes=("out_of_memory",),
        mechanisms=_ANY_RESTART,
        most_steps_lost=LAST_STEP,
        resumes=1,
        is_equal=False,
        settings="recovery.regroup=false recovery.replace=false",
    ),
    Scenario(
        name="exception_for_ever",
        drill="exception@step=120,times=99",
        causes=("crash",),
        mechanisms=_ANY_RESTART,
        state="halted",
        most_steps_lost=LAST_STEP,
        is_equal=False,
        settings="watchdog.policy.budgets.crash=2",
    ),
    Scenario(
        name="nan_for_ever",
        drill="nan@step=120,count=5,times=99",
        causes=("nonfinite",),
        mechanisms=_IN_PLACE,
        state="halted",
        most_steps_lost=LAST_STEP,
        is_equal=False,
    ),
)


def choose(only: str | None) -> tuple[Scenario, ...]:
    """Return the scenarios named (comma-separated) with the untouched run first; all for None.

    Raises:
        BadInput: one of the names is unknown.
    """
    if not only:
        return SCENARIOS
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    known = [scenario.name for scenario in SCENARIOS]
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise BadInput(f"no drill scenario '{name}'{hint} (known: {', '.join(known)})")
    return tuple(s for s in SCENARIOS if s.name in wanted or s.name == "untouched")


def names(scenarios: Sequence[Scenario]) -> str:
    """Return the names as ONLY= takes them."""
    return ",".join(scenario.name for scenario in scenarios)
