"""The competition's score: topology, surface and connected sheets, weighed into one number.

    score = 0.30 TopoScore + 0.35 surface Dice + 0.35 VOI score

The surface Dice is the competition's at `task.validation.surface_tolerance: 2`, the default.

Unlabelled voxels are background in prediction and truth before anything is counted.

Runs in: worker (pure).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import generate_binary_structure, label
from skimage.measure import euler_number
from skimage.metrics import variation_of_information

from jobs.vesuvius.metrics import Mask
from jobs.vesuvius.volumes import SURFACE, UNLABELLED, Voxels

#: Source: the evaluation page of the Kaggle competition Vesuvius Challenge - Surface Detection.
TOPO_WEIGHT, SURFACE_WEIGHT, VOI_WEIGHT = 0.30, 0.35, 0.35
BETTI_WEIGHTS = (0.34, 0.33, 0.33)
VOI_STEEPNESS = 0.3

#: Voxels of a sheet hold together by faces, edges and corners; its background by faces alone.
_SHEET = generate_binary_structure(3, 3)
_BACKGROUND = generate_binary_structure(3, 1)


@dataclass(frozen=True, slots=True)
class CompetitionScore:
    """The score and its three parts, each from 0 to 1."""

    topo: float
    surface: float
    voi: float

    @property
    def score(self) -> float:
        """Return the weighted sum."""
        return TOPO_WEIGHT * self.topo + SURFACE_WEIGHT * self.surface + VOI_WEIGHT * self.voi


def competition_score(predicted: Mask, labels: Voxels, surface: float | None) -> CompetitionScore:
    """Return the score of one volume, DHW, given its surface Dice; nothing to find scores 1."""
    known = predicted & (labels != UNLABELLED)
    truth = labels == SURFACE
    return CompetitionScore(
        topo=topo_score(known, truth),
        surface=1.0 if surface is None else surface,
        voi=voi_score(known, truth),
    )


def betti_numbers(mask: Mask) -> tuple[int, int, int]:
    """Return the numbers of components, tunnels and cavities of a mask.

    Components and cavities are counted, the tunnels follow from the Euler number,
    chi = b0 - b1 + b2.
    """
    if not mask.any():
        return 0, 0, 0
    padded = np.pad(mask, 1)
    components = label(padded, _SHEET)[1]
    cavities = label(~padded, _BACKGROUND)[1] - 1  # one of them is the outside
    return components, components + cavities - int(euler_number(padded, 3)), cavities


def topo_score(predicted: Mask, truth: Mask) -> float:
    """Return the mean F1 of components, tunnels and cavities; 1: as many of each.

    A dimension in which neither has anything is left out and the weights of the others count for
    it. The competition matches the features of the two by persistent homology (Stucki et al. 2023,
    arXiv:2211.15272); here as many count as matched as both have, wherever they lie, which is the
    most that a matching can find. So this is an upper bound of the competition's number.
    """
    total = weight_sum = 0.0
    pairs = zip(betti_numbers(predicted), betti_numbers(truth), BETTI_WEIGHTS, strict=True)
    for found, wanted, weight in pairs:
        if found + wanted:
            total += weight * 2 * min(found, wanted) / (found + wanted)
            weight_sum += weight
    return total / weight_sum if weight_sum else 1.0


def voi_score(predicted: Mask, truth: Mask) -> float:
    """Return 1 / (1 + 0.3 VOI) of the connected sheets; 1: cut up alike.

    The variation of information, in bits, is taken over the voxels of either mask: those outside
    both are nearly all and would make every prediction look alike.
    Source: Meila 2007, Comparing clusterings - an information based distance.
    """
    either = predicted | truth
    if not either.any():
        return 1.0
    sheets = [_sheets(mask)[either] for mask in (truth, predicted)]
    split, merged = variation_of_information(sheets[0], sheets[1])
    return float(1.0 / (1.0 + VOI_STEEPNESS * (split + merged)))


def _sheets(mask: Mask) -> npt.NDArray[np.int32]:
    numbered: npt.NDArray[np.int32] = label(mask, _SHEET)[0]
    return numbered
