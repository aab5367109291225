"""The error tree of the whole product; what each class means for the exit code stands beside it.

Exceptions are for broken contracts. Expected outcomes (a verdict, the end of an attempt) are
values. Everything here survives pickling, because it crosses Ray.

Runs in: anywhere (pure).
"""


class WatchkeeperError(Exception):
    """Root of the tree; exit code 1 unless a subclass says otherwise."""

    exit_code = 1


class BadInput(WatchkeeperError):
    """Something the user gave cannot be used; nothing was started or written. Exit code 2."""

    exit_code = 2


class SpecError(BadInput):
    """The job file, an override or an option is wrong."""


class DataError(BadInput):
    """The data folder cannot be trained on."""


class TraceError(BadInput):
    """A trace, ledger or foreign log cannot be read."""


class RunNotFound(BadInput):
    """No run of that name in the runs folder."""


class RunLocked(BadInput):
    """Another driver holds the run."""


class PreflightRefused(WatchkeeperError):
    """A check before the run failed. Exit code 4."""

    exit_code = 4


class RunHalted(WatchkeeperError):
    """The watchdog stopped the run with a diagnosis. Exit code 3."""

    exit_code = 3


class CheckpointError(WatchkeeperError):
    """A checkpoint cannot be written, or not be read now; it may be sound."""


class CheckpointDamaged(CheckpointError):
    """A checkpoint is torn, altered or no checkpoint; it will never be read."""


class RollbackFailed(WatchkeeperError):
    """An in-place rollback could not be carried out; the supervisor restarts instead."""
