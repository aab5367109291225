"""How well a file fits a format.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from enum import IntEnum


class Fit(IntEnum):
    """The best fit is read: a format by its own marks, then tables and lines, then plain text."""

    NO = 0
    FALLBACK = 1
    GENERAL = 2
    EXACT = 3
