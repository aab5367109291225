"""Counts claims, across restarts of anything: a drill's fault must not fire again by itself.

Runs in: watchdog actor (writes the file).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path


class Claims:
    """How often each key was claimed; each claim is on disk, with its time, before it is granted.

    A line that a death has torn grants nothing: the claim was not answered.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._counts: Counter[str] = Counter()
        if path.exists():
            whole, _, torn = path.read_text().rpartition("\n")
            for line in whole.splitlines():
                self._counts[json.loads(line)["key"]] += 1
            if torn:
                path.write_text(f"{whole}\n" if whole else "")

    def claim(self, key: str) -> int:
        """Return how often `key` was claimed before, and count this claim."""
        before = self._counts[key]
        with self._path.open("a") as file:
            file.write(json.dumps({"key": key, "t_s": self._clock()}) + "\n")
        self._counts[key] += 1
        return before
