"""The watchdog's multiplier on the learning rate: what is in force, and when it may be lifted.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from dataclasses import dataclass

#: Chosen: each lift that was followed by an incident makes the wait for the next so much longer.
#: With four, a run whose rate is too high meets at most three incidents within any stretch as long
#: as the whole of a short run, or as 1,050 steps: no more than budgets.nonfinite has charges.
_WAIT_GROWTH = 4
_MAX_WAIT_FACTOR = 64


@dataclass(slots=True)
class Rate:
    """`scale` is reached over the re-warm-up after `anchor_step`.

    It comes from `from_scale`, which is 0 after a rollback and the scale before it where the rate
    was changed without losing steps. `healthy_steps` were clean since the scale or its cause last
    changed.
    """

    scale: float = 1.0
    from_scale: float = 0.0
    anchor_step: int = 0
    is_set: bool = False
    healthy_steps: int = 0
    _wait_factor: int = 1
    _was_lifted: bool = False

    def restored(self, scale: float, restored_step: int) -> None:
        """Note a new scale that came with a restored checkpoint."""
        self._became(scale, restored_step, from_scale=0.0)

    def changed(self, scale: float, step: int) -> None:
        """Note a new scale from the step after `step` on, without going back."""
        self._became(scale, step, from_scale=self.scale)

    def lifted(self) -> None:
        """Note that the scale is on its way up because the run was healthy."""
        self._was_lifted = True
        self.healthy_steps = 0

    def struck(self) -> None:
        """Note an incident: health is counted anew, and longer if the rate had been lifted."""
        self.healthy_steps = 0
        if self._was_lifted:
            self._was_lifted = False
            self._wait_factor = min(_WAIT_GROWTH * self._wait_factor, _MAX_WAIT_FACTOR)

    def scale_at(self, step: int) -> float:
        """Return the scale of `step`: one up to the last change still had the one before it."""
        is_older = self.from_scale > 0 and step <= self.anchor_step
        return self.from_scale if is_older else self.scale

    def next_lift(self, after_steps: int | None) -> float | None:
        """Return twice the scale, at most 1, once the run was healthy for long; else None."""
        if after_steps is None or self.scale >= 1.0 or self.scale <= 0.0:
            return None
        if self.healthy_steps < after_steps * self._wait_factor:
            return None
        return min(1.0, 2 * self.scale)

    def _became(self, scale: float, step: int, *, from_scale: float) -> None:
        self.from_scale = from_scale
        self.scale = scale
        self.anchor_step = step
        self.is_set = True
        self.healthy_steps = 0
