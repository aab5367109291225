"""What an exception of the training code says about its rank.

Runs in: worker.
"""

from __future__ import annotations

import traceback

import torch
import torch.distributed as dist

from watchdog.errors import RollbackFailed
from watchdog.muster import Failure
from watchdog.records import Outcome
from watchdog.redaction import redact

#: What gloo says when a peer has left a collective, or its own connections were shut down.
_ECHOES = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Connection refused",
    "Broken pipe",
    "Socket closed",
    "gloo/transport",
    "Socket Timeout",
    "Socket is not connected",
)
#: What CUDA says when its context is beyond use; running out of memory leaves it whole.
_POISON = ("CUDA error", "device-side assert", "cuBLAS", "CUDNN_STATUS", "unspecified launch")


def describe(error: BaseException, step: int) -> Failure:
    """Return why a rank left its attempt at `step`."""
    return Failure(
        outcome=_outcome(error),
        step=step,
        error=redact("".join(traceback.format_exception(error)).strip()),
        is_echo=not isinstance(error, RollbackFailed) and is_echo(error),
    )


def is_echo(error: BaseException) -> bool:
    """Whether a rank failed only because a peer had left the collective."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _ECHOES)


def is_poisoned(error: BaseException) -> bool:
    """Whether this process cannot compute any more, so that only a new one can go on."""
    if isinstance(error, torch.cuda.OutOfMemoryError) or not torch.cuda.is_available():
        return False
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _POISON)


def _outcome(error: BaseException) -> Outcome:
    if isinstance(error, RollbackFailed):
        return Outcome.ROLLBACK_FAILED
    is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return Outcome.OUT_OF_MEMORY if is_memory else Outcome.EXCEPTION
