"""Why an incident is opened, and what its cause means for what is done about it.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """Why an incident was opened; the budget of an intervention is counted per cause."""

    NONFINITE = "nonfinite"
    SPIKE = "spike"
    DIVERGENCE = "divergence"
    DEAD_LOSS = "dead_loss"
    LR_UNDERFLOW = "lr_underflow"
    TRIVIAL = "trivial"
    PLATEAU = "plateau"
    SKIPPED_BATCHES = "skipped_batches"
    GRADIENTS = "gradients"
    UNSTABLE_VALIDATION = "unstable_validation"
    OVERFITTING = "overfitting"
    STALL = "stall"
    STRAGGLER = "straggler"
    STORAGE = "storage"
    CRASH = "crash"
    NODE_LOST = "node_lost"
    OUT_OF_MEMORY = "out_of_memory"


#: Causes that lie in the numbers, not in a process or a machine.
NUMERIC_CAUSES = frozenset(
    {
        Cause.NONFINITE,
        Cause.SPIKE,
        Cause.DIVERGENCE,
        Cause.DEAD_LOSS,
        Cause.LR_UNDERFLOW,
        Cause.TRIVIAL,
        Cause.PLATEAU,
        Cause.SKIPPED_BATCHES,
    }
)

#: Causes whose suspicions are only told: a precursor, a matter of taste, or somebody else's. All
#: but STALL are never more than suspicions.
WATCHED_CAUSES = frozenset(
    {
        Cause.GRADIENTS,
        Cause.UNSTABLE_VALIDATION,
        Cause.OVERFITTING,
        Cause.STALL,
        Cause.STRAGGLER,
        Cause.STORAGE,
    }
)

#: Causes that are found from the clock alone, and over as soon as something is heard.
SILENT_CAUSES = frozenset({Cause.STALL})

#: Causes that begin when a checkpoint cannot be written, and end when one is: no step ends them.
STORAGE_CAUSES = frozenset({Cause.STORAGE})

#: Causes under which a run goes on making clean steps: only a better loss is progress.
STUCK_CAUSES = frozenset({Cause.PLATEAU, Cause.DEAD_LOSS, Cause.TRIVIAL, Cause.LR_UNDERFLOW})

#: Causes that leave the weights as good as they were: what was saved since is not tainted.
HARMLESS_CAUSES = frozenset({Cause.PLATEAU, Cause.LR_UNDERFLOW})
