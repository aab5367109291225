"""Curves drawn with braille dots, two by four in a character cell, for a terminal.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: The bit of each dot of a cell by (column, row). Source: Unicode, block Braille Patterns (U+2800).
_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLANK = 0x2800

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Window:
    """What part of the plane is drawn: values of the left, right, lower and upper edge."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float


def window_over(curves: Iterable[Points], *, x_low: float, x_high: float) -> Window | None:
    """Return a window as high as the finite points are, over x as given; None for no points."""
    points = [point for curve in curves for point in curve if math.isfinite(point[1])]
    if not points:
        return None
    ys = [y for _, y in points]
    low, high = min(ys), max(ys)
    # A flat curve lies in the middle.
    margin = 0.0 if high > low else abs(high) * 0.1 or 1.0
    return Window(x_low, max(x_high, x_low + 1), low - margin, high + margin)


class Canvas:
    """A grid of cells; each knows its dots and the last pen that touched it."""

    def __init__(self, columns: int, rows: int, window: Window) -> None:
        self._columns = max(1, columns)
        self._rows = max(1, rows)
        self._window = window
        self._dots = [[0] * self._columns for _ in range(self._rows)]
        self._pens = [[0] * self._columns for _ in range(self._rows)]

    def curve(self, points: Points, pen: int) -> None:
        """Draw a line through the points, which come in the order of x; NaN and infinity break it.

        A spike of one step among a thousand is seen: every line is drawn to its end.
        """
        before: tuple[int, int] | None = None
        for x, y in points:
            if not math.isfinite(y):
                before = None
                continue
            here = (self._dot_x(x), self._dot_y(y))
            self._line(before or here, here, pen)
            before = here

    def column(self, x: float) -> int:
        """Return the character column that `x` falls into."""
        return min(self._columns - 1, max(0, self._dot_x(x) // 2))

    def rows(self) -> list[list[tuple[str, int]]]:
        """Return the rows from the top, each as stretches of text with their pen."""
        out = []
        for dots, pens in zip(self._dots, self._pens, strict=True):
            stretches: list[tuple[str, int]] = []
            for bits, pen in zip(dots, pens, strict=True):
                char = chr(_BLANK + bits) if bits else " "
                if stretches and stretches[-1][1] == pen:
                    stretches[-1] = (stretches[-1][0] + char, pen)
                else:
                    stretches.append((char, pen))
            out.append(stretches)
        return out

    def _dot_x(self, x: float) -> int:
        share = (x - self._window.x_low) / (self._window.x_high - self._window.x_low)
        return round(min(1.0, max(0.0, share)) * (2 * self._columns - 1))

    def _dot_y(self, y: float) -> int:
        share = (y - self._window.y_low) / (self._window.y_high - self._window.y_low)
        return round((1.0 - min(1.0, max(0.0, share))) * (4 * self._rows - 1))

    def _line(self, start: tuple[int, int], end: tuple[int, int], pen: int) -> None:
        (x0, y0), (x1, y1) = start, end
        count = max(abs(x1 - x0), abs(y1 - y0), 1)
        for i in range(count + 1):
            self._dot(round(x0 + (x1 - x0) * i / count), round(y0 + (y1 - y0) * i / count), pen)

    def _dot(self, x: int, y: int, pen: int) -> None:
        self._dots[y // 4][x // 2] |= _BITS[x % 2][y % 4]
        self._pens[y // 4][x // 2] = pen
