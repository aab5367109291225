"""Alerts about the watchdog itself: who watches it.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from deploy.rules.catalogue import Alert, Component, Runbook, Severity
from deploy.rules.matchers import ACTIVE, OF_RUN

WATCHDOG_ALERTS: tuple[Alert, ...] = (
    Alert(
        name="TrainingWatchdogDown",
        expr='up{job="training-watchdog"} == 0',
        severity=Severity.CRITICAL,
        component=Component.WATCHDOG,
        for_="30s",
        summary="The watchdog of run {{ $labels.run }} is not scraped.",
        description="The run is listed and its metrics do not answer.",
        runbook=Runbook(
            meaning="The watchdog's process is gone, or the network between it and Prometheus is. "
            "Training does not need it for its steps.",
            done_already="Ray starts a dead watchdog again within a second, from its files; if "
            "this fires, that did not help.",
            to_do=(
                "`make status RUN=…`: does the run still move?",
                "The host that ran it: memory, disk; `make resume RUN=…` if the driver died too.",
                "A run that is given up: `make stop RUN=…` takes it off Prometheus's list.",
            ),
        ),
    ),
    Alert(
        name="TrainingWatchdogStalled",
        expr=(f"(time() - training_watchdog_last_tick_timestamp_seconds > 30) {OF_RUN} ({ACTIVE})"),
        severity=Severity.CRITICAL,
        component=Component.WATCHDOG,
        summary="The watchdog of {{ $labels.run }} has not ticked for "
        "{{ $value | humanizeDuration }}.",
        description="It ticks every second; its process lives and judges nothing.",
        runbook=Runbook(
            meaning="Its disk hangs (each verdict is flushed before it is told), or it starves.",
            done_already="Nothing: whoever watches is the one that is stuck.",
            to_do=(
                "Latency of the disk under the runs folder.",
                "End the actor's process: Ray starts it anew and it reads its own files.",
            ),
        ),
    ),
    Alert(
        name="TrainingDetectorDisabled",
        expr="training_watchdog_detectors_disabled > 0",
        severity=Severity.WARNING,
        component=Component.WATCHDOG,
        for_="1m",
        summary="{{ $value }} detectors of {{ $labels.run }} raised and are switched off.",
        description="The others go on judging.",
        runbook=Runbook(
            meaning="A fault in a detector's code.",
            done_already="It was switched off for this run, so that it cannot hurt training.",
            to_do=(
                "The watchdog's log has the error.",
                "`make replay LOG=runs/<id>/trace.jsonl` repeats it; keep the trace as its test.",
            ),
        ),
    ),
    Alert(
        name="TrainingWatchdogCardinality",
        expr='scrape_samples_post_metric_relabeling{job="training-watchdog"} > 8000',
        severity=Severity.WARNING,
        component=Component.WATCHDOG,
        for_="10m",
        summary="A watchdog exports {{ $value }} series.",
        description="At 10,000 the whole scrape is dropped.",
        runbook=Runbook(
            meaning="More series than 256 ranks explain.",
            done_already="Above 256 ranks only the slowest and the most silent are exported.",
            to_do=("Report it: the catalogue is bounded, so this should not happen.",),
        ),
    ),
    Alert(
        name="TrainingDeadMansSwitch",
        expr="vector(1)",
        severity=Severity.NONE,
        component=Component.WATCHDOG,
        summary="Always firing; its absence means that alerting is broken.",
        description="Send it to a service that calls when it stops hearing it.",
        runbook=Runbook(
            meaning="Prometheus evaluates rules and Alertmanager hears of them.",
            done_already="Nothing.",
            to_do=("Nothing, as long as it arrives.",),
        ),
    ),
)
