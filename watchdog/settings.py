"""The base of every settings model of the judging half.

A leaf module, so that a detector can hold its own settings without importing the whole tree.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Config(BaseModel):
    """Frozen; a key it does not know is an error; no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DetectorConfig(Config):
    """What every detector can be told."""

    enabled: bool = Field(True, description="Whether this detector is asked.")
