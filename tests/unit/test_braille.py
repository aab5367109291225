"""Curves in character cells."""

from __future__ import annotations

import math

from runner.braille import Canvas, Window, window_over


def drawn(points: list[tuple[float, float]], columns: int, rows: int) -> list[str]:
    window = window_over([points], x_low=0, x_high=max(x for x, _ in points))
    assert window is not None
    canvas = Canvas(columns, rows, window)
    canvas.curve(points, 1)
    return ["".join(chars for chars, _ in row) for row in canvas.rows()]


def test_no_points_no_window() -> None:
    assert window_over([[], [(1, math.nan)]], x_low=0, x_high=1) is None


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    top, bottom = drawn([(0, 0), (1, 1)], 2, 2)
    assert top[0] == " "
    assert top[1] != " "
    assert bottom[0] != " "
    assert bottom[1] == " "


def test_a_flat_curve_lies_in_the_middle() -> None:
    rows = drawn([(0, 5), (10, 5)], 4, 3)
    assert [row.strip() != "" for row in rows] == [False, True, False]


def test_a_step_that_is_not_finite_is_a_gap() -> None:
    (row,) = drawn([(0, 1.0), (1, 1.0), (2, math.nan), (9, 1.0), (10, 1.0)], 11, 1)
    assert row[5] == " "


def test_a_spike_of_one_step_among_thousands_is_seen() -> None:
    points = [(float(x), 1.0) for x in range(5000)]
    points[2500] = (2500.0, 9.0)
    assert drawn(points, 40, 8)[0].strip() != ""


def test_a_cell_bears_the_pen_that_touched_it_last() -> None:
    canvas = Canvas(3, 1, Window(0, 2, 0, 1))
    canvas.curve([(0, 0), (2, 0)], 1)
    canvas.curve([(2, 1)], 2)
    assert [pen for _, pen in canvas.rows()[0]] == [1, 2]
