"""The cases of the alert rules as data: series in, and when each alert must and must not fire.

`promtool test rules` runs them; the file it reads is written by the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

RUN = 'training_job="j",run="r"'


def of_run(name: str, **labels: str) -> str:
    """Return a series of the run."""
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{RUN}{more}}}"


def state(name: str) -> str:
    return of_run("training_run_state", training_run_state=name)


@dataclass(frozen=True)
class Case:
    """`fires`: alert -> first moment it must fire; `silent`: alert -> last moment it must not."""

    name: str
    series: Mapping[str, str]
    fires: Mapping[str, str] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)


RUNNING = {state("running"): "1x1000"}
#: The clock of promtool starts at 0, so a time stamp that keeps up grows by 15 a sample.
NOW = "0+15x1000"

CASES: tuple[Case, ...] = (
    Case(
        "a run fails",
        {state("failed"): "0x4 1x40"},
        fires={"TrainingRunFailed": "75s"},
        silent={"TrainingRunFailed": "1m"},
    ),
    Case(
        "a run is halted",
        {state("halted"): "0x4 1x40"},
        fires={"TrainingRunHalted": "75s"},
        silent={"TrainingRunHalted": "1m"},
    ),
    Case(
        "a run takes no step for longer than is tolerated",
        {
            **RUNNING,
            of_run("training_last_step_timestamp_seconds"): "0+15x4 60x100",
            of_run("training_hang_timeout_seconds"): "120x200",
        },
        fires={"TrainingRunHung": "195s"},
        silent={"TrainingRunHung": "180s"},
    ),
    Case(
        "a run that has ended takes no steps and is not hung",
        {
            state("finished"): "1x200",
            state("running"): "0x200",
            of_run("training_last_step_timestamp_seconds"): "60x200",
            of_run("training_hang_timeout_seconds"): "120x200",
        },
        silent={"TrainingRunHung": "30m"},
    ),
    Case(
        "a rank is silent for longer than a scrape or two",
        {
            **RUNNING,
            of_run("training_workers_running"): "2x3 1x40",
            of_run("training_workers_desired"): "2x200",
        },
        fires={"TrainingRankLost": "75s"},
        silent={"TrainingRankLost": "45s"},
    ),
    Case(
        "a run restarts four times within an hour",
        {of_run("training_run_restarts_total", reason="crash"): "0x4 1x4 2x4 3x4 5x100"},
        fires={"TrainingRestartLoop": "11m"},
        silent={"TrainingRestartLoop": "7m30s"},
    ),
    Case(
        "a run waits for workers",
        {state("starting"): "1x200"},
        fires={"TrainingRunPending": "15m"},
        silent={"TrainingRunPending": "14m45s"},
    ),
    Case(
        "one rank is slow for minutes",
        {**RUNNING, of_run("training_straggler_ratio"): "1x4 1.6x100"},
        fires={"TrainingStraggler": "6m30s"},
        silent={"TrainingStraggler": "5m45s"},
    ),
    Case(
        "throughput falls by half and stays there",
        {**RUNNING, of_run("training_samples_total"): "0+150x720 108000+75x200"},
        fires={"TrainingThroughputDrop": "3h20m"},
        silent={"TrainingThroughputDrop": "3h5m"},
    ),
    Case(
        "nearly nothing of an hour is productive",
        {
            of_run("training_time_seconds_total", category="productive"): "0+15x240 3600+0.1x400",
            of_run("training_time_seconds_total", category="recovery"): "0x240 0+14.9x400",
            of_run("training_goodput_objective_ratio"): "0.95x1000",
        },
        fires={"TrainingGoodputBurnFast": "1h50m"},
        silent={"TrainingGoodputBurnFast": "1h10m"},
    ),
    Case(
        "with an objective that cannot be burnt 14 times a full stop still pages",
        {
            of_run("training_time_seconds_total", category="productive"): "0x640",
            of_run("training_time_seconds_total", category="recovery"): "0+15x640",
            of_run("training_goodput_objective_ratio"): "0.9x1000",
        },
        fires={"TrainingGoodputBurnFast": "20m"},
    ),
    Case(
        "a third of six hours is not productive",
        {
            of_run("training_time_seconds_total", category="productive"): "0+9x1800",
            of_run("training_time_seconds_total", category="data_stall"): "0+6x1800",
            of_run("training_goodput_objective_ratio"): "0.95x1000",
        },
        fires={"TrainingGoodputBurnSlow": "1h"},
        silent={"TrainingGoodputBurnFast": "2h", "TrainingGoodputBurnSlow": "10m"},
    ),
    Case(
        "an incident is opened",
        {of_run("training_incidents_total", cause="nonfinite"): "0x4 1x200"},
        fires={"TrainingIncidentOpened": "90s"},
        silent={"TrainingIncidentOpened": "1m"},
    ),
    Case(
        "an incident stays open",
        {**RUNNING, of_run("training_incident_open"): "0x4 1x300"},
        fires={"TrainingIncidentUnresolved": "31m30s"},
        silent={"TrainingIncidentUnresolved": "31m"},
    ),
    Case(
        "a tenth of the steps is skipped",
        {
            of_run("training_steps_skipped_total"): "0x60 0+1x200",
            of_run("training_steps_total"): "0+10x260",
        },
        fires={"TrainingStepsSkipped": "33m"},
        silent={"TrainingStepsSkipped": "15m"},
    ),
    Case(
        "no durable checkpoint for longer than usual",
        {
            **RUNNING,
            of_run("training_checkpoint_last_success_timestamp_seconds"): "0+15x4 60x200",
            of_run("training_checkpoint_interval_seconds"): "60x300",
        },
        fires={"TrainingCheckpointStale": "4m45s"},
        silent={"TrainingCheckpointStale": "4m15s"},
    ),
    Case(
        "a checkpoint fails",
        {of_run("training_checkpoint_failures_total"): "0x4 1x100"},
        fires={"TrainingCheckpointFailing": "90s"},
        silent={"TrainingCheckpointFailing": "1m"},
    ),
    Case(
        "the watchdog does not answer",
        {'up{job="training-watchdog",run="r"}': "1x4 0x100"},
        fires={"TrainingWatchdogDown": "1m45s"},
        silent={"TrainingWatchdogDown": "1m30s"},
    ),
    Case(
        "the watchdog answers and does not tick",
        {**RUNNING, of_run("training_watchdog_last_tick_timestamp_seconds"): "0+15x4 60x100"},
        fires={"TrainingWatchdogStalled": "105s"},
        silent={"TrainingWatchdogStalled": "90s"},
    ),
    Case(
        "a detector raised",
        {of_run("training_watchdog_detectors_disabled"): "0x4 1x100"},
        fires={"TrainingDetectorDisabled": "2m15s"},
        silent={"TrainingDetectorDisabled": "2m"},
    ),
    Case(
        "too many series",
        {'scrape_samples_post_metric_relabeling{job="training-watchdog"}': "900x4 8001x100"},
        fires={"TrainingWatchdogCardinality": "11m15s"},
        silent={"TrainingWatchdogCardinality": "11m"},
    ),
    Case("alerting works", {"up": "1x10"}, fires={"TrainingDeadMansSwitch": "15s"}),
)

_HEALTHY = {
    **RUNNING,
    state("failed"): "0x1000",
    state("halted"): "0x1000",
    of_run("training_last_step_timestamp_seconds"): NOW,
    of_run("training_hang_timeout_seconds"): "120x1000",
    of_run("training_workers_running"): "2x1000",
    of_run("training_workers_desired"): "2x1000",
    of_run("training_run_restarts_total", reason="crash"): "0x1000",
    of_run("training_straggler_ratio"): "1.05x1000",
    of_run("training_samples_total"): "0+150x1000",
    of_run("training_steps_total"): "0+15x1000",
    of_run("training_steps_skipped_total"): "0x1000",
    of_run("training_time_seconds_total", category="productive"): "0+14.7x1000",
    of_run("training_time_seconds_total", category="validation"): "0+0.3x1000",
    of_run("training_goodput_objective_ratio"): "0.95x1000",
    of_run("training_incidents_total", cause="nonfinite"): "0x1000",
    of_run("training_incident_open"): "0x1000",
    of_run("training_checkpoint_last_success_timestamp_seconds"): NOW,
    of_run("training_checkpoint_interval_seconds"): "60x1000",
    of_run("training_checkpoint_failures_total"): "0x1000",
    of_run("training_watchdog_last_tick_timestamp_seconds"): NOW,
    of_run("training_watchdog_detectors_disabled"): "0x1000",
    'up{job="training-watchdog",run="r"}': "1x1000",
    'scrape_samples_post_metric_relabeling{job="training-watchdog"}': "900x1000",
}

#: Series, and the moments at which no alert but the dead man's switch may fire.
SILENT_RUNS: Mapping[str, tuple[Mapping[str, str], tuple[str, ...]]] = {
    "four healthy hours": (_HEALTHY, ("1m", "10m", "1h", "4h")),
    "a healthy run whose series end": (
        {series: values.replace("x1000", "x400 stale") for series, values in _HEALTHY.items()},
        ("1h39m", "1h41m", "1h50m", "3h"),
    ),
}

#: A NaN burst that the watchdog healed within a second: at most `warning`, never a page.
HEALED: Mapping[str, str] = {
    **_HEALTHY,
    of_run("training_incidents_total", cause="nonfinite"): "0x100 1x1900",
    of_run("training_steps_skipped_total"): "0x100 5x1900",
}
