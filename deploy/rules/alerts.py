"""The alerts: what an operator is told, and what the page then says.

A fault that the watchdog healed pages nobody: it is a line on the dashboard. What pages is a run
that ended by itself, does not move, goes in circles, or is watched by nobody. Thresholds that
depend on the job are metrics, so that no rule holds a job's constants.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from deploy.rules.catalogue import Alert
from deploy.rules.run_alerts import RUN_ALERTS
from deploy.rules.training_alerts import CHECKPOINT_ALERTS, NUMERIC_ALERTS
from deploy.rules.watchdog_alerts import WATCHDOG_ALERTS

ALERTS: tuple[Alert, ...] = (
    *RUN_ALERTS,
    *NUMERIC_ALERTS,
    *CHECKPOINT_ALERTS,
    *WATCHDOG_ALERTS,
)
