"""What `watchdog:` in a job file may say.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class WatchdogConfig(BaseModel):
    """Stand-in until the judging half is written."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    host: str = Field("127.0.0.1")
    port: int = Field(9465)
