"""Pieces of PromQL that several alerts are made of.

Runs in: anywhere (pure).
"""

from __future__ import annotations

#: A run that should be making steps.
ACTIVE = 'training_run_state{training_run_state=~"running|recovering"} == 1'
OF_RUN = "and on (training_job, run)"
