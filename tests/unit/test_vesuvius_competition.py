"""The competition's score on volumes whose topology is known by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from jobs.vesuvius.competition import (
    CompetitionScore,
    betti_numbers,
    competition_score,
    topo_score,
    voi_score,
)
from jobs.vesuvius.metrics import surface_dice
from jobs.vesuvius.volumes import Voxels

Mask = npt.NDArray[np.bool_]
SIDE = 21


def radius() -> npt.NDArray[np.float64]:
    z, y, x = np.mgrid[:SIDE, :SIDE, :SIDE] - SIDE // 2
    return np.asarray(np.sqrt(z**2 + y**2 + x**2), np.float64)


def ball() -> Mask:
    return radius() < 7


def hollow_sphere() -> Mask:
    return (radius() < 8) & (radius() > 5)


def torus() -> Mask:
    z, y, x = np.mgrid[:SIDE, :SIDE, :SIDE] - SIDE // 2
    return np.asarray((np.hypot(z, y) - 6) ** 2 + x**2 < 6, np.bool_)


def two_sheets() -> Mask:
    mask = np.zeros((SIDE, SIDE, SIDE), np.bool_)
    mask[5:7] = mask[12:14] = True
    return mask


def score(predicted: Mask, labels: Voxels) -> CompetitionScore:
    return competition_score(predicted, labels, surface_dice(predicted, labels, 2.0))


def test_betti_numbers_are_components_tunnels_and_cavities() -> None:
    assert betti_numbers(ball()) == (1, 0, 0)
    assert betti_numbers(torus()) == (1, 1, 0)
    assert betti_numbers(hollow_sphere()) == (1, 0, 1)
    assert betti_numbers(two_sheets()) == (2, 0, 0)
    assert betti_numbers(np.zeros((4, 4, 4), np.bool_)) == (0, 0, 0)


def test_voxels_that_touch_at_a_corner_are_one_component() -> None:
    mask = np.zeros((4, 4, 4), np.bool_)
    mask[1, 1, 1] = mask[2, 2, 2] = True
    assert betti_numbers(mask) == (1, 0, 0)


def test_a_hole_at_the_rim_of_the_volume_is_no_cavity() -> None:
    mask = hollow_sphere()[SIDE // 2 :]
    assert betti_numbers(mask) == (1, 0, 0)


def test_a_hole_in_a_sheet_is_a_tunnel() -> None:
    mask = two_sheets()
    mask[5:7, 10:12, 10:12] = False
    assert betti_numbers(mask) == (2, 1, 0)


def test_topo_score_is_the_f1_of_the_counts_over_the_dimensions_in_use() -> None:
    assert topo_score(ball(), ball()) == 1.0
    assert topo_score(two_sheets(), ball()) == pytest.approx(2 / 3)
    # Components agree (0.34), the tunnel is missed (0.33), there are no cavities.
    assert topo_score(ball(), torus()) == pytest.approx(0.34 / 0.67)
    assert topo_score(torus(), hollow_sphere()) == pytest.approx(0.34)
    empty = np.zeros_like(ball())
    assert topo_score(empty, empty) == 1.0
    assert topo_score(empty, ball()) == 0.0


def test_voi_score_falls_by_the_bits_of_a_cut() -> None:
    whole = ball()
    assert voi_score(whole, whole) == 1.0
    one = np.zeros((8, 8, 8), np.bool_)
    one[:, 2:4, :] = True
    halves = one.copy()
    halves[4] = False
    # Seven of eight slices, in parts of four and three; the cut voxels are a part of their own.
    shares = np.array([4, 3, 1]) / 8
    bits = -(shares * np.log2(shares)).sum()
    assert voi_score(halves, one) == pytest.approx(1 / (1 + 0.3 * bits))
    assert voi_score(halves, one) == pytest.approx(voi_score(one, halves))


def test_the_score_weighs_its_three_parts() -> None:
    labels = two_sheets().astype(np.uint8)
    perfect = score(two_sheets(), labels)
    assert perfect.score == pytest.approx(1.0)
    moved = score(np.roll(two_sheets(), 4, axis=0), labels)
    assert moved.topo == 1.0
    assert moved.surface < 1.0
    assert moved.score == pytest.approx(0.3 * 1.0 + 0.35 * moved.surface + 0.35 * moved.voi)


def test_unlabelled_voxels_change_nothing() -> None:
    labels = two_sheets().astype(np.uint8)
    labels[:, :, 15:] = 2
    clean = score(two_sheets() & (labels != 2), labels)
    wild = score(two_sheets() | (labels == 2), labels)
    assert clean == wild
    assert wild.score == pytest.approx(1.0)
