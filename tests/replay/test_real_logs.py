"""Real logs of healthy language-model pretraining, every step: the touchstone for false alarms."""

from pathlib import Path

import pytest

from watchdog.config import WatchdogConfig
from watchdog.replay import Replay


def test_healthy_pretraining_is_never_acted_on(shared: Path | None) -> None:
    logs = sorted((shared / "traces" / "runs").glob("nano_*.jsonl.gz")) if shared else []
    if not logs:
        pytest.skip("the real logs are not beside this checkout")
    events = [event for log in logs for event in Replay(log, "auto", WatchdogConfig())]
    assert [event for event in events if event.level == "incident"] == []
    assert {event.level for event in events} == {"suspect", "recovered"}
