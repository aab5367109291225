"""The settings of this job: what `task:` in job.yaml may say.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from pydantic import Field

from runner.spec import Config as Section


class Config(Section):
    """A small network on points of two interleaved spirals."""

    hidden: int = Field(32, ge=1, description="Units of each hidden layer.")
    samples: int = Field(512, ge=8, description="Training points; as many again validate.")
    noise: float = Field(0.05, ge=0, description="Standard deviation of the points' noise.")
