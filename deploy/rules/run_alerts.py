"""Alerts about the life and the pace of a run.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from deploy.rules.catalogue import Alert, Component, Runbook, Severity
from deploy.rules.matchers import ACTIVE, OF_RUN
from deploy.rules.recording import badput

_OBJECTIVE = "max by (training_job, run) (training_goodput_objective_ratio)"


def _burn(factor: float, windows: tuple[str, str]) -> str:
    """Return the test that badput exceeds `factor` times what the objective allows, twice.

    Source: the multiwindow burn-rate alerts of Google's SRE workbook, chapter 5. The clamp is ours:
    14.4 times the budget of an objective under 0.93 is more than all of the time there is.
    """
    limit = f"clamp_max({factor:g} * (1 - {_OBJECTIVE}), 0.9)"
    tests = [f"({badput(window)} > on (training_job, run) {limit})" for window in windows]
    return f" {OF_RUN} ".join(tests)


RUN_ALERTS: tuple[Alert, ...] = (
    Alert(
        name="TrainingRunFailed",
        expr='training_run_state{training_run_state="failed"} == 1',
        severity=Severity.CRITICAL,
        component=Component.RUN,
        summary="Run {{ $labels.run }} failed.",
        description="The driver of run {{ $labels.run }} ended in an error of its own.",
        runbook=Runbook(
            meaning="The driver could not go on: bad storage, a cluster that is gone, or a fault "
            "of ours. Training itself was not judged to be at fault.",
            done_already="Everything known is in the run's folder; durable checkpoints are whole.",
            to_do=(
                "`make status RUN=…` shows the reason, `make logs RUN=…` the error.",
                "Remove the cause (a full disk, a lost cluster), then `make resume RUN=…`.",
            ),
        ),
    ),
    Alert(
        name="TrainingRunHalted",
        expr='training_run_state{training_run_state="halted"} == 1',
        severity=Severity.CRITICAL,
        component=Component.RUN,
        summary="Run {{ $labels.run }} was halted by its watchdog.",
        description="A budget was spent without progress, or the learning rate is at its floor; "
        "a person has to look at run {{ $labels.run }}.",
        runbook=Runbook(
            meaning="The watchdog intervened as often as it may against one cause and it did not "
            "help for long.",
            done_already="Rollbacks or restarts up to the budget of the cause, each with its proof "
            "in the ledger. The best trusted checkpoint is named in the verdict.",
            to_do=(
                "Read the last verdict: `make status RUN=…`; it names the cause, the limit that "
                "was reached and what to look for.",
                "Open `report.html`: the evidence and the proofs of each intervention.",
                "Change what the verdict points at, then `make resume RUN=…`: a resume forgives "
                "the spent budget.",
            ),
        ),
    ),
    Alert(
        name="TrainingRunHung",
        expr=(
            "(time() - training_last_step_timestamp_seconds > training_hang_timeout_seconds) "
            f"{OF_RUN} ({ACTIVE})"
        ),
        severity=Severity.CRITICAL,
        component=Component.RUN,
        summary="Run {{ $labels.run }} has taken no step for {{ $value | humanizeDuration }}.",
        description="That is longer than the watchdog tolerates in the present phase.",
        runbook=Runbook(
            meaning="No rank finished a step within the deadline of the present phase (start-up, "
            "step, validation, checkpoint), which follows the run's own history.",
            done_already="The stacks of all ranks are in `runs/<id>/stacks/`, the culprit is named "
            "in the ledger, and the group was ordered to regroup. This alert says that the time "
            "is up, whether or not that has worked yet.",
            to_do=(
                "`make status RUN=…`: if a recovery is under way, wait for it.",
                "If none is: look at the culprit's stack; a data loader on dead storage and a "
                "kernel that never ends cannot be interrupted from inside the process.",
                "`make stop RUN=…`, or end the culprit's process: the watchdog replaces it.",
            ),
        ),
    ),
    Alert(
        name="TrainingRankLost",
        expr=f"(training_workers_running < training_workers_desired) {OF_RUN} ({ACTIVE})",
        severity=Severity.WARNING,
        component=Component.RUN,
        for_="15s",
        summary="Run {{ $labels.run }} hears of {{ $value }} workers, fewer than it started with.",
        description="Some ranks have been silent for ten of their steps and 30 s at least.",
        runbook=Runbook(
            meaning="A worker is gone or its line to the watchdog is. Silence alone is never taken "
            "for a failure; a death is, and has its own record.",
            done_already="Nothing, if only the line is broken. A worker that died is being "
            "replaced; see the ledger.",
            to_do=(
                "Find the rank: `training_rank_heartbeat_timestamp_seconds`, the lowest one.",
                "Look at its node: network, memory, and whether it was preempted.",
            ),
        ),
    ),
    Alert(
        name="TrainingRestartLoop",
        expr="sum by (training_job, run) (increase(training_run_restarts_total[1h])) > 3",
        severity=Severity.CRITICAL,
        component=Component.RUN,
        # A crash loop that is halted within minutes pages for the halt alone.
        for_="5m",
        keep_firing_for="15m",
        summary="Run {{ $labels.run }} restarted {{ $value | humanize }} times within an hour.",
        description="Restarts are within their budget, so the run goes on, but it pays for them.",
        runbook=Runbook(
            meaning="Each restart made progress, or lost nodes free of charge; otherwise the run "
            "would have been halted.",
            done_already="A restart for each, from memory where a copy outlived the worker.",
            to_do=(
                "Which reason? `sum by (reason) (increase(training_run_restarts_total[1h]))`.",
                "`node_lost`: spot capacity is short; use another pool or an on-demand group.",
                "`crash`: read the log of the rank that failed, `make logs RUN=…`.",
            ),
        ),
    ),
    Alert(
        name="TrainingRunPending",
        expr='training_run_state{training_run_state=~"pending|starting"} == 1',
        severity=Severity.WARNING,
        component=Component.RUN,
        for_="15m",
        summary="Run {{ $labels.run }} has waited for workers for over 15 minutes.",
        description="No first step yet.",
        runbook=Runbook(
            meaning="The cluster has no room for the workers, or start-up (imports, data) is slow.",
            done_already="Nothing: waiting is free.",
            to_do=(
                "Compare what is asked for with what there is: `ray status` on the head.",
                "Autoscaling: look at `autoscaler_pending_nodes` and the provider's quota.",
                "Fewer workers will do? Submit with a range, `WORKERS=1-4`.",
            ),
        ),
    ),
    Alert(
        name="TrainingStraggler",
        expr=f"(training_straggler_ratio > 1.5) {OF_RUN} ({ACTIVE})",
        severity=Severity.WARNING,
        component=Component.RUN,
        for_="5m",
        summary="The slowest rank of {{ $labels.run }} takes {{ $value | humanize }} times the "
        "median step.",
        description="All ranks wait for the slowest one at every step.",
        runbook=Runbook(
            meaning="One rank computes or loads longer than the others, every step.",
            done_already="The rank is named in the ledger as a suspicion; nothing is restarted.",
            to_do=(
                "`topk(3, training_rank_step_duration_seconds)` names the ranks.",
                "Same node each time: clocks, temperature and neighbours of that machine.",
                "Different nodes: shares of unequal size, or a loader that starves.",
            ),
        ),
    ),
    Alert(
        name="TrainingThroughputDrop",
        expr=(
            "(training_job_run:training_samples:rate5m < 0.7 * "
            f"avg_over_time(training_job_run:training_samples:rate5m[6h])) {OF_RUN} ({ACTIVE})"
        ),
        severity=Severity.WARNING,
        component=Component.RUN,
        for_="10m",
        summary="Throughput of {{ $labels.run }} is over 30 % below its mean of six hours.",
        description="Now {{ $value | humanize }} samples a second.",
        runbook=Runbook(
            meaning="Steps take longer than they used to, or fewer workers take them.",
            done_already="Nothing: the numbers are healthy.",
            to_do=(
                "The dashboard's goodput bar says whether data or checkpoints stall the steps.",
                "Fewer workers after a shrink? `training_workers_desired`.",
            ),
        ),
    ),
    Alert(
        name="TrainingGoodputBurnFast",
        expr=_burn(14.4, ("1h", "5m")),
        severity=Severity.CRITICAL,
        component=Component.RUN,
        for_="2m",
        summary="{{ $value | humanizePercentage }} of the last hour of {{ $labels.run }} was "
        "not productive.",
        description="More than 14.4 times what its goodput objective allows, now and over an hour.",
        runbook=Runbook(
            meaning="Nearly all of the time goes into starting, recovering or repeating.",
            done_already="Each recovery is in the ledger with the seconds it cost.",
            to_do=(
                "`sum by (category) (rate(training_time_seconds_total[5m]))` says where it goes.",
                "`recovery`: see the incidents; `startup`: see TrainingRunPending.",
                "The objective is `watchdog.goodput_objective`; 0.9 to 0.97 is usual.",
            ),
        ),
    ),
    Alert(
        name="TrainingGoodputBurnSlow",
        expr=_burn(6, ("6h", "30m")),
        severity=Severity.WARNING,
        component=Component.RUN,
        for_="15m",
        summary="{{ $value | humanizePercentage }} of the last six hours of {{ $labels.run }} was "
        "not productive.",
        description="More than 6 times what its goodput objective allows.",
        runbook=Runbook(
            meaning="The run makes progress, at a price.",
            done_already="Each recovery is in the ledger with the seconds it cost.",
            to_do=("As TrainingGoodputBurnFast, in the morning.",),
        ),
    ),
)
