"""Which checkpoints may be restored: a state machine for each, written as a table.

A checkpoint is a candidate when saved, trusted once N clean steps have followed it, tainted while
its step is at or after the onset of a suspicion or an incident, and quarantined for good when it
fails its checksum or its restore.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from watchdog.records import CheckpointSaved, Storage
from watchdog.settings import Config


class TrustConfig(Config):
    """When a checkpoint is believed."""

    clean_steps: int = Field(
        5, ge=1, le=10_000, description="Clean steps after a checkpoint that make it trusted."
    )


class Trust(StrEnum):
    """What is known of a checkpoint."""

    CANDIDATE = "candidate"
    TRUSTED = "trusted"
    TAINTED = "tainted"
    QUARANTINED = "quarantined"


TRANSITIONS: Mapping[Trust, frozenset[Trust]] = {
    Trust.CANDIDATE: frozenset({Trust.TRUSTED, Trust.TAINTED, Trust.QUARANTINED}),
    Trust.TRUSTED: frozenset({Trust.TAINTED, Trust.QUARANTINED}),
    Trust.TAINTED: frozenset({Trust.CANDIDATE, Trust.QUARANTINED}),
    Trust.QUARANTINED: frozenset(),
}

#: Chosen: more than any run keeps, and it bounds a verdict's list; the oldest are forgotten.
_MAX_KEPT: Mapping[Storage, int] = {Storage.MEMORY: 64, Storage.DURABLE: 256}


#: Chosen: a watchdog that was away is told of so many steps before it hears of a checkpoint.
_REMEMBERED_STEPS = 512


@dataclass(slots=True)
class Checkpoint:
    """One checkpoint. `clean_steps` counts since it was saved; `is_finite` as it was reported."""

    step: int
    storage: Storage
    generation: int
    trust: Trust
    is_finite: bool
    clean_steps: int = 0


class TrustBook:
    """The checkpoints of one run. Methods return those whose trust they changed for the ledger."""

    def __init__(self, config: TrustConfig) -> None:
        self._clean_steps = config.clean_steps
        self._checkpoints: dict[tuple[Storage, int], Checkpoint] = {}
        self._waiting: list[Checkpoint] = []
        self._judged: deque[int | None] = deque(maxlen=_REMEMBERED_STEPS)  # None: not clean

    def has(self, record: CheckpointSaved) -> bool:
        """Whether this very checkpoint is known already: a report may arrive twice."""
        known = self._checkpoints.get((record.storage, record.step))
        return known is not None and known.generation == record.generation

    def saved(
        self, record: CheckpointSaved, *, onset_step: int | None, restored_step: int | None
    ) -> list[Checkpoint]:
        """Take a new checkpoint in; one of the same place and step before it is replaced.

        `onset_step` is that of an open suspicion or incident. A state that was just restored from a
        trusted checkpoint (`restored_step`), or never trained, is trusted at once. So is one that
        is heard of late, when the clean steps after it have been judged already: a watchdog that
        was away is told of them first.
        """
        is_known_good = record.step == restored_step and (
            record.step == 0 or record.step in self.steps(Trust.TRUSTED)
        )
        key = (record.storage, record.step)
        checkpoint = Checkpoint(
            record.step, record.storage, record.generation, Trust.CANDIDATE, record.is_finite
        )
        self._forget(key)
        self._checkpoints[key] = checkpoint
        if record.held_steps is not None:
            self._keep_only(record.storage, record.held_steps)
        self._bound(record.storage)
        if not record.is_finite or (onset_step is not None and record.step >= onset_step):
            return self._move(checkpoint, Trust.TAINTED)
        checkpoint.clean_steps = self._clean_since(record.step)
        if is_known_good or checkpoint.clean_steps >= self._clean_steps:
            return self._move(checkpoint, Trust.TRUSTED)
        self._waiting.append(checkpoint)
        return []

    def clean_step(self, step: int) -> list[Checkpoint]:
        """Count a clean step for the candidates older than it."""
        self._judged.append(step)
        if not self._waiting:
            return []
        changed = []
        for checkpoint in [c for c in self._waiting if c.step < step]:
            checkpoint.clean_steps += 1
            if checkpoint.clean_steps >= self._clean_steps:
                changed += self._move(checkpoint, Trust.TRUSTED)
        return changed

    def bad_step(self) -> None:
        """Start counting anew: a step was not clean."""
        self._judged.append(None)
        for checkpoint in self._waiting:
            checkpoint.clean_steps = 0

    def rewound(self) -> None:
        """Forget the judged steps: they were thrown away, or are about to be repeated."""
        self._judged.clear()

    def _clean_since(self, saved_step: int) -> int:
        """Return the clean steps in a row after `saved_step`, as many as are needed at most."""
        count = 0
        for step in self._judged:
            if step is None:
                count = 0
            elif step > saved_step:
                count += 1
                if count >= self._clean_steps:
                    break
        return count

    def taint_from(self, onset_step: int) -> list[Checkpoint]:
        """Distrust what was saved at or after the first bad step."""
        late = [c for c in self._checkpoints.values() if c.step >= onset_step]
        return [changed for c in late for changed in self._move(c, Trust.TAINTED)]

    def absolve_from(self, onset_step: int, generation: int) -> None:
        """Make candidates again of what a suspicion that came to nothing had tainted.

        What an earlier generation left behind stays tainted: those steps were superseded.
        """
        for checkpoint in self._checkpoints.values():
            is_meant = checkpoint.step >= onset_step and checkpoint.generation == generation
            if is_meant and checkpoint.is_finite and checkpoint.trust is Trust.TAINTED:
                self._move(checkpoint, Trust.CANDIDATE)
                checkpoint.clean_steps = 0
                self._waiting.append(checkpoint)

    def quarantine(self, step: int, storage: Storage) -> list[Checkpoint]:
        """Never restore this one again, whether its save was heard of or not."""
        unknown = Checkpoint(step, storage, -1, Trust.CANDIDATE, is_finite=False)
        checkpoint = self._checkpoints.setdefault((storage, step), unknown)
        return self._move(checkpoint, Trust.QUARANTINED)

    def steps(self, trust: Trust, storage: Storage | None = None) -> tuple[int, ...]:
        """Return the steps with a checkpoint of this trust, in order."""
        return tuple(
            sorted(
                {
                    c.step
                    for c in self._checkpoints.values()
                    if c.trust is trust and storage in (None, c.storage)
                }
            )
        )

    def distrusted_steps(self) -> tuple[int, ...]:
        """Return the steps of which no checkpoint may be restored, in order."""
        good = {*self.steps(Trust.CANDIDATE), *self.steps(Trust.TRUSTED)}
        return tuple(sorted({c.step for c in self._checkpoints.values()} - good))

    def durable(self) -> Mapping[int, str]:
        """Return the trust of the durable checkpoints by step."""
        return {
            c.step: c.trust.value
            for c in self._checkpoints.values()
            if c.storage is Storage.DURABLE
        }

    def _move(self, checkpoint: Checkpoint, trust: Trust) -> list[Checkpoint]:
        if trust not in TRANSITIONS[checkpoint.trust]:
            return []
        checkpoint.trust = trust
        if checkpoint in self._waiting:
            self._waiting.remove(checkpoint)
        return [checkpoint]

    def _forget(self, key: tuple[Storage, int]) -> None:
        checkpoint = self._checkpoints.pop(key, None)
        if checkpoint is not None and checkpoint in self._waiting:
            self._waiting.remove(checkpoint)

    def _keep_only(self, storage: Storage, held_steps: Iterable[int]) -> None:
        """Forget what its storage has dropped; what is distrusted stays known as such.

        A copy of it may lie elsewhere, and must not be taken for one that nobody distrusts.
        """
        held = set(held_steps)
        for key, checkpoint in list(self._checkpoints.items()):
            is_good = checkpoint.trust in (Trust.CANDIDATE, Trust.TRUSTED)
            if key[0] is storage and is_good and key[1] not in held:
                self._forget(key)

    def _bound(self, storage: Storage) -> None:
        """Forget the oldest, but never the newest trusted one."""
        spared = self.steps(Trust.TRUSTED, storage)[-1:]
        steps = sorted(step for place, step in self._checkpoints if place is storage)
        for step in steps[: max(0, len(steps) - _MAX_KEPT[storage])]:
            if step not in spared:
                self._forget((storage, step))
