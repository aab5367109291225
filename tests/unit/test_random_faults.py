import math
import random

import pytest

from bench.random_faults import ACTIONABLE, SHAPES, draw


@pytest.mark.parametrize("shape", SHAPES)
def test_fault_stays_where_it_calls_for_an_act_and_only_there(shape: str) -> None:
    fault = draw(shape, 0.02, random.Random(3))
    late = fault.raised_by(120)
    assert (late > 0.01) is (shape in ACTIONABLE and shape != "NaN burst")


def test_burst_has_several_steps_and_a_lone_nan_has_one() -> None:
    rng = random.Random(3)
    counts = [
        sum(math.isnan(draw(shape, 0.02, rng).raised_by(k)) for k in range(40))
        for shape in ("NaN burst", "NaN")
    ]
    assert counts[0] >= 3
    assert counts[1] == 1
