"""How a wait for room is told of: in pieces that add up, and none without a wait."""

import time
from collections.abc import Sequence

import pytest

from runner.waiting import Waiting
from watchdog.records import Record, RoomAwaited


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


def test_a_wait_is_told_once_a_second_and_to_its_end(clock: Clock) -> None:
    told: list[Record] = []

    def tell(records: Sequence[Record]) -> None:
        told.extend(records)

    waiting = Waiting(tell)
    waiting.note(has_room=True)
    for _ in range(8):  # 3.5 s at two looks a second, and the last look finds room
        waiting.note(has_room=False)
        clock.now_s += 0.5
    waiting.note(has_room=True)
    clock.now_s += 60.0
    waiting.note(has_room=True)
    seconds = [record.seconds for record in told if isinstance(record, RoomAwaited)]
    assert sum(seconds) == pytest.approx(4.0)
    assert max(seconds) <= 1.0


def test_room_at_once_is_no_wait(clock: Clock) -> None:
    told: list[Record] = []
    waiting = Waiting(told.extend)
    for _ in range(3):
        waiting.note(has_room=True)
        clock.now_s += 5.0
    assert told == []
