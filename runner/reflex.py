"""Rung 0: an optimizer step whose gradients are not finite, or too large, is not applied.

The gradients are the same on all ranks after the all-reduce, so every rank decides alike without a
word. With a fused optimizer the decision never leaves the device: the kernel is handed a flag and
changes nothing when it is set.

Runs in: worker.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import torch

from runner.shards import whole

_log = logging.getLogger(__name__)


_FLAGS = {is_set: torch.tensor(is_set) for is_set in (False, True)}


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What the step did, still on the device: global gradient norm, and whether it was applied."""

    grad_norm: torch.Tensor
    is_applied: torch.Tensor
    is_finite: torch.Tensor


class Reflex:
    """Clips, and applies the optimizer step only when the gradient norm is finite.

    With `skip_norm` it must not exceed that either: clipping keeps the length of such a step
    bounded, not its direction sensible.

    `is_on_device` says whether a fused optimizer is handed the flag (None: on a GPU); otherwise
    the host asks for the number, which on a CPU it has anyway.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        clip_norm: float | None,
        scaler: torch.amp.GradScaler | None = None,
        *,
        skip_norm: float | None = None,
        is_on_device: bool | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._parameters = [p for g in optimizer.param_groups for p in g["params"]]
        self._clip_norm = float("inf") if clip_norm is None else clip_norm
        self._skip_norm = skip_norm
        self._scaler = scaler
        # The protocol GradScaler uses: such an optimizer reads `found_inf` and skips on the device.
        is_on_gpu = any(p.is_cuda for p in self._parameters)
        is_fused = bool(getattr(optimizer, "_step_supports_amp_scaling", False))
        self._skips_on_device = is_fused and (is_on_gpu if is_on_device is None else is_on_device)
        self._is_on_host = not is_on_gpu and not self._skips_on_device
        if is_on_gpu and not is_fused:
            _log.warning(
                "%s cannot skip a bad step on the GPU, so each step waits for the host; "
                "build the optimizer with fused=True to avoid it",
                type(optimizer).__name__,
            )

    def step(self) -> StepOutcome:
        """Apply the optimizer step unless a gradient is NaN or infinite, or the norm too large."""
        if self._scaler is not None and self._scaler.is_enabled():
            return self._scaled_step(self._scaler)
        # Of gradients that are shared out the norm is that of all parts, and all ranks have it.
        norm = whole(torch.nn.utils.clip_grad_norm_(self._parameters, self._clip_norm))
        if self._is_on_host:
            return self._host_step(norm)
        finite = torch.isfinite(norm)
        fits = self._fits(norm, finite)
        self._apply(fits)
        return StepOutcome(norm, fits, finite)

    def _host_step(self, norm: torch.Tensor) -> StepOutcome:
        """Decide by the number itself, which is at hand; kernels would cost ten times that."""
        is_finite = math.isfinite(float(norm))
        fits = is_finite and (self._skip_norm is None or bool(norm <= self._skip_norm))
        if fits:
            self._optimizer.step()
        return StepOutcome(norm, _FLAGS[fits], _FLAGS[is_finite])

    def _fits(self, norm: torch.Tensor, finite: torch.Tensor) -> torch.Tensor:
        return finite if self._skip_norm is None else finite & (norm <= self._skip_norm)

    def _apply(self, fits: torch.Tensor) -> None:
        if self._skips_on_device:
            self._optimizer.grad_scale = None  # type: ignore[attr-defined]
            self._optimizer.found_inf = (~fits).float()  # type: ignore[attr-defined]
            self._optimizer.step()
        elif bool(fits):
            self._optimizer.step()

    def _scaled_step(self, scaler: torch.amp.GradScaler) -> StepOutcome:
        # An overflow at a scale above 1 is fp16's ordinary search for its scale, not a fault.
        scale_tensor = scaler._scale
        can_shrink = scale_tensor > 1.0 if scale_tensor is not None else None
        scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        is_finite = torch.isfinite(norm)
        applied = self._fits(norm, is_finite)
        # The scaler skips what is not finite by itself; of a large norm it knows nothing.
        if self._skip_norm is None or bool(applied) or not bool(is_finite):
            scaler.step(self._optimizer)
        scaler.update()
        finite = is_finite if can_shrink is None else is_finite | can_shrink.reshape(()).bool()
        return StepOutcome(norm, applied, finite)
