"""Alerts about the numbers of a run and about its checkpoints.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from deploy.rules.catalogue import Alert, Component, Runbook, Severity
from deploy.rules.matchers import ACTIVE, OF_RUN

NUMERIC_ALERTS: tuple[Alert, ...] = (
    Alert(
        name="TrainingIncidentOpened",
        expr="increase(training_incidents_total[5m]) > 0",
        severity=Severity.WARNING,
        component=Component.NUMERICS,
        keep_firing_for="10m",
        summary="The watchdog opened an incident on {{ $labels.run }}: {{ $labels.cause }}.",
        description="It has acted, or is acting; the proof whether it helped follows in the "
        "ledger.",
        runbook=Runbook(
            meaning="Something that does not go away by itself: a burst of non-finite steps, a "
            "loss that did not come back, a plateau, a death.",
            done_already="A verdict, on disk before it was carried out: `make status RUN=…`.",
            to_do=(
                "Nothing at night: the run goes on, or TrainingRunHalted follows.",
                "In the morning read the report: which samples, which rate, did it help?",
            ),
        ),
    ),
    Alert(
        name="TrainingIncidentUnresolved",
        expr=f"(training_incident_open == 1) {OF_RUN} ({ACTIVE})",
        severity=Severity.CRITICAL,
        component=Component.NUMERICS,
        for_="30m",
        summary="An incident of {{ $labels.run }} has been open for over 30 minutes.",
        description="Clean steps past the last bad one would have closed it.",
        runbook=Runbook(
            meaning="The run neither recovers nor is halted: long steps, or a recovery that does "
            "not end.",
            done_already="See the last verdict and the recovery that followed it in the ledger.",
            to_do=(
                "`make status RUN=…`: is the step moving? If not, see TrainingRunHung.",
                "With steps of minutes, 30 minutes are few steps: lengthen `for` of this rule.",
            ),
        ),
    ),
    Alert(
        name="TrainingStepsSkipped",
        expr=(
            "(increase(training_steps_skipped_total[15m]) / "
            "increase(training_steps_total[15m]) > 0.05)"
        ),
        severity=Severity.WARNING,
        component=Component.NUMERICS,
        for_="5m",
        summary="{{ $value | humanizePercentage }} of the steps of {{ $labels.run }} are skipped.",
        description="Their gradients were not finite; up to 5 % is usual with fp16.",
        runbook=Runbook(
            meaning="Overflow in the loss or its scale, or bad samples, too few in a row for a "
            "burst.",
            done_already="The steps were not applied. Above 20 % it is an incident.",
            to_do=("Try bf16, a lower train.lr, or look at the samples of the skipped steps.",),
        ),
    ),
)

CHECKPOINT_ALERTS: tuple[Alert, ...] = (
    Alert(
        name="TrainingCheckpointStale",
        expr=(
            "(time() - training_checkpoint_last_success_timestamp_seconds > "
            f"2.5 * training_checkpoint_interval_seconds) {OF_RUN} ({ACTIVE})"
        ),
        severity=Severity.CRITICAL,
        component=Component.CHECKPOINT,
        for_="1m",
        summary="The last durable checkpoint of {{ $labels.run }} is "
        "{{ $value | humanizeDuration }} old.",
        description="More than 2.5 times the usual distance between two of them.",
        runbook=Runbook(
            meaning="Saving fails or hangs. A lost cluster would now cost more than it should.",
            done_already="Training goes on; memory checkpoints are still made, the last good "
            "durable one is kept.",
            to_do=(
                "Room and rights of `checkpoints.path`; TrainingCheckpointFailing names errors.",
                "A store that hangs: `make logs RUN=…`, thread `checkpoint-writer`.",
            ),
        ),
    ),
    Alert(
        name="TrainingCheckpointFailing",
        expr="increase(training_checkpoint_failures_total[15m]) > 0",
        severity=Severity.WARNING,
        component=Component.CHECKPOINT,
        keep_firing_for="10m",
        summary="{{ $value | humanize }} checkpoints of {{ $labels.run }} failed.",
        description="To save, to verify or to restore, within 15 minutes.",
        runbook=Runbook(
            meaning="A full disk, a torn file, or storage that answers with errors.",
            done_already="A bad one is quarantined and passed over; the last trusted one is never "
            "deleted.",
            to_do=(
                "`make logs RUN=…`: the error names the file and the cause.",
                "Make room, or lower `checkpoints.keep`.",
            ),
        ),
    ),
)
