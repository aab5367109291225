import math

from tests.replay.rig import noisy
from watchdog.curve import Block, Curve
from watchdog.slowdown import slowdown

ERRORS = 2.5


def blocks(
    loss: float, power: float, flat_from: int, noise: float, count: int = 1024
) -> list[Block]:
    """Return the curve of a loss that falls like a power of the step until `flat_from`."""
    wobble = noisy(1.0, noise, seed=3)
    curve = Curve()
    for step in range(1, count + 1):
        curve.add(step, loss * min(step, flat_from) ** -power * wobble(0, step))
    return curve.blocks


def is_stalled(curve: list[Block]) -> bool:
    found = slowdown(curve, 0.5, 2.0)
    return found is not None and found.is_stalled(0.33, 0.005, ERRORS)


def test_steady_power_law_has_not_slowed_down() -> None:
    assert not is_stalled(blocks(4.0, 0.1, 10**9, 0.05))


def test_loss_made_flat_is_told_in_much_noise() -> None:
    assert is_stalled(blocks(4.0, 0.3, 400, 0.02))
    assert is_stalled(blocks(4.0, 0.3, 500, 0.06))


def test_noise_that_hides_the_earlier_fall_tells_nothing() -> None:
    assert not is_stalled(blocks(4.0, 0.01, 400, 0.5))


def test_scale_does_not_matter() -> None:
    small, large = blocks(1e-6, 0.3, 400, 0.1), blocks(1e6, 0.3, 400, 0.1)
    one, other = slowdown(small, 0.5, 2.0), slowdown(large, 0.5, 2.0)
    assert one is not None
    assert other is not None
    assert math.isclose(one.earlier_fall, other.earlier_fall, rel_tol=1e-6)


def test_sure_progress_is_no_stall_however_fast_it_was_before() -> None:
    steep = blocks(4.0, 3.0, 500, 0.001)
    slow = [
        Block(b.first_step, b.last_step, b.loss * (b.last_step / 500) ** -0.1)
        if b.first_step > 500
        else b
        for b in steep
    ]
    assert is_stalled(steep)
    assert not is_stalled(slow)


def test_step_in_the_earlier_curve_is_no_pace() -> None:
    dropped = [Block(i, i, 1.0 if i < 96 else 0.5) for i in range(256)]
    found = slowdown(dropped, 0.5, 2.0)
    assert found is not None
    assert found.earlier_fall == 0.0


def test_too_few_blocks_give_nothing() -> None:
    assert slowdown([Block(i, i, 1.0) for i in range(20)], 0.5, 2.0) is None
