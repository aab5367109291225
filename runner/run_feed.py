"""Feeds what is appended to a run's files into the state that a screen shows.

Needs nothing but the folder, so a mirror of a run on another machine will do.

Runs in: driver.
"""

from __future__ import annotations

from runner.followed_file import FollowedFile, Line, sampled_lines
from runner.run_status import job_and_max_steps
from runner.runs import RunFolder
from runner.sound_records import sound_record
from runner.watch_state import News, WatchState

#: Chosen: read in seconds. Of a longer trace the beginning is sampled, its end is read whole.
MAX_WHOLE_BYTES = 48 << 20
_SPOTS = 96
_SPOT_BYTES = 1 << 16
_END_BYTES = 4 << 20
#: Chosen: a redraw comes after a second of catching up at most.
_BITES = 4


class RunFeed:
    """Reads the ledger and the trace of one run as they grow; `state` is what they say."""

    def __init__(self, run: RunFolder, *, max_whole_bytes: int = MAX_WHOLE_BYTES) -> None:
        self._run = run
        self._max_whole_bytes = max_whole_bytes
        self._begin()

    @property
    def is_behind(self) -> bool:
        """Whether there is more to read than the last look took in."""
        return self._trace.has_more or self._ledger.has_more

    def look(self) -> list[News]:
        """Take in what is new, in bounded bites; return the news among it."""
        news = self._look()
        if self._trace.restarts or self._ledger.restarts:
            # Another run of this name, or files that were written anew: all told so far is void.
            self._begin()
            news = self._look()
        return news

    def _begin(self) -> None:
        job, max_steps = job_and_max_steps(self._run)
        self.state = WatchState(self._run.run_id, job=job or "", max_steps=max_steps)
        self._ledger = FollowedFile(self._run.ledger)
        self._trace = FollowedFile(self._run.trace)
        size_bytes = _size_bytes(self._run)
        if size_bytes > self._max_whole_bytes:
            self.state.is_whole = False
            for line in sampled_lines(self._run.trace, spots=_SPOTS, spot_bytes=_SPOT_BYTES):
                self._observe(line)
            self._trace.start_at(size_bytes - min(_END_BYTES, size_bytes // 8))

    def _look(self) -> list[News]:
        news = [self.state.note(line) for line in self._ledger.new_lines()]
        for _ in range(_BITES):
            for line in self._trace.new_lines():
                self._observe(line)
            if not self._trace.has_more:
                break
        return [item for item in news if item is not None]

    def _observe(self, line: Line) -> None:
        record = sound_record(line)
        if record is not None:
            self.state.observe(record)


def _size_bytes(run: RunFolder) -> int:
    try:
        return run.trace.stat().st_size
    except OSError:
        return 0
