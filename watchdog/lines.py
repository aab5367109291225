"""The ledger lines that hold more than a word or two, made from what they are about.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from watchdog.diagnosis import Diagnosis
from watchdog.hard_batches import HardSample
from watchdog.incidents import Incident, Recovery
from watchdog.place import Place
from watchdog.records import (
    AttemptEnded,
    AttemptStarted,
    LedgerEntry,
    LedgerKind,
    Storage,
)
from watchdog.trust import Checkpoint, Trust

_TRUST_KINDS = {
    Trust.TRUSTED: LedgerKind.CHECKPOINT_TRUSTED,
    Trust.TAINTED: LedgerKind.CHECKPOINT_TAINTED,
}


def trust_lines(place: Place, changed: Iterable[Checkpoint]) -> list[LedgerEntry]:
    """Return the lines of durable checkpoints that became trusted or tainted."""
    return [
        place.line(_TRUST_KINDS[c.trust], {"storage": c.storage.value}, step=c.step)
        for c in changed
        if c.storage is Storage.DURABLE and c.trust in _TRUST_KINDS
    ]


def attempt_started_line(place: Place, record: AttemptStarted) -> LedgerEntry:
    """Return the line of an attempt that came up; its step is the restored one."""
    about = {
        "world_size": record.world_size,
        "storage": record.storage.value if record.storage is not None else None,
        "generation": record.generation,
        "lr_scale": record.lr_scale,
        "tier": record.tier,
        "memory": record.memory,
    }
    return place.line(LedgerKind.ATTEMPT_STARTED, about, step=record.restored_step)


def attempt_ended_line(place: Place, record: AttemptEnded) -> LedgerEntry:
    """Return the line of an attempt that ended."""
    about = {
        "outcome": record.outcome.value,
        "error": record.error,
        "rank": record.rank,
        "is_node_lost": record.is_node_lost,
    }
    return place.line(LedgerKind.ATTEMPT_ENDED, about, step=max(record.step, place.step))


def incident_opened_line(place: Place, incident: Incident, diagnosis: Diagnosis) -> LedgerEntry:
    """Return the line of a new incident, with the evidence; a number that is not finite is null."""
    about = {
        "cause": incident.cause.value,
        "incident": incident.id,
        "onset_step": incident.onset_step,
        "reason": diagnosis.summary,
        "value": _finite(diagnosis.value),
        "threshold": _finite(diagnosis.threshold),
    }
    return place.line(LedgerKind.INCIDENT_OPENED, about)


def recovery_done_line(place: Place, incident: Incident | None, recovery: Recovery) -> LedgerEntry:
    """Return the line of a verdict that was carried out."""
    about = {
        "cause": incident.cause.value if incident is not None else None,
        "incident": incident.id if incident is not None else None,
        "mechanism": recovery.mechanism,
        "tier": recovery.tier,
        "restored_step": recovery.restored_step,
        "from": recovery.storage.value if recovery.storage is not None else None,
        "seconds": recovery.seconds,
        "steps_lost": recovery.steps_lost,
        "skipped_samples": list(recovery.skipped_samples),
    }
    return place.line(LedgerKind.RECOVERY_DONE, about)


def hard_sample_rows(samples: Iterable[HardSample]) -> list[dict[str, Any]]:
    """Return the hard samples as a ledger line lists them."""
    return [dataclasses.asdict(sample) for sample in samples]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
