"""Counts claims, across restarts of anything: a drill's fault must not fire again by itself.

Runs in: watchdog actor (writes the file).
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path


class Claims:
    """How often each key was claimed; each claim is on disk before it is granted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts: Counter[str] = Counter()
        if path.exists():
            for line in path.read_text().splitlines():
                self._counts[json.loads(line)["key"]] += 1

    def claim(self, key: str) -> int:
        """Return how often `key` was claimed before, and count this claim."""
        before = self._counts[key]
        with self._path.open("a") as file:
            file.write(json.dumps({"key": key}) + "\n")
        self._counts[key] += 1
        return before
