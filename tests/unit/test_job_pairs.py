"""Input and target are moved by the same move, whatever their channels and resolutions."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.shared.pairs import Move, PairAugmentation, PairAugmentConfig


def grid(side: int, channels: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Where each pixel's centre lies in [0, 1] x [0, 1]: rows, columns, and copies of them."""
    at = (np.arange(side, dtype=np.float32) + 0.5) / side
    rows, columns = np.meshgrid(at, at, indexing="ij")
    return np.stack([rows, columns] * channels)


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(12))
def test_a_coordinate_grid_comes_out_the_same_on_both_sides(seed: int) -> None:
    source, target = PairAugmentation(PairAugmentConfig()).move(grid(4), grid(8), generator(seed))
    halved = target.reshape(2, 4, 2, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(source, halved, atol=1e-6)


def test_all_eight_symmetries_are_drawn() -> None:
    augment = PairAugmentation(PairAugmentConfig())
    seen = {augment.move(grid(3), grid(3), generator(s))[0].tobytes() for s in range(100)}
    assert len(seen) == 8


def test_a_target_that_is_not_moved_is_out_of_register_in_seven_of_eight() -> None:
    augment = PairAugmentation(PairAugmentConfig(moves_target=False))
    pairs = [augment.move(grid(3), grid(3), generator(s)) for s in range(400)]
    apart = [not np.array_equal(source, target) for source, target in pairs]
    assert all(np.array_equal(target, grid(3)) for _, target in pairs)
    assert np.mean(apart) == pytest.approx(7 / 8, abs=0.05)


def test_labels_keep_their_type_and_values() -> None:
    label = np.arange(9, dtype=np.uint8).reshape(3, 3)
    _, moved = PairAugmentation(PairAugmentConfig())(grid(3), label, generator(1))
    assert moved.dtype == np.uint8
    assert sorted(moved.ravel()) == list(range(9))


def test_an_oblong_pair_keeps_its_shape() -> None:
    oblong = np.zeros((2, 3, 5), np.float32)
    for seed in range(20):
        source, target = PairAugmentation(PairAugmentConfig())(oblong, oblong, generator(seed))
        assert source.shape == target.shape == (2, 3, 5)


def test_intensities_change_the_input_alone_and_equal_generators_give_equal_bits() -> None:
    augment = PairAugmentation(
        PairAugmentConfig(flip=False, rotate90=False, intensity_probability=1.0)
    )
    first, target = augment(grid(4), grid(4), generator(7))
    again, _ = augment(grid(4), grid(4), generator(7))
    assert first.dtype == np.float32
    assert not np.array_equal(first, grid(4))
    assert np.array_equal(target, grid(4))
    assert first.tobytes() == again.tobytes()


def test_settings_do_not_change_which_numbers_are_drawn() -> None:
    rngs = generator(3), generator(3)
    for rng, flip in zip(rngs, (True, False), strict=True):
        PairAugmentation(PairAugmentConfig(flip=flip)).move(grid(3), grid(3), rng)
    assert rngs[0].random() == rngs[1].random()


def test_a_move_of_nothing_is_the_array_itself() -> None:
    still = Move(flips_rows=False, flips_columns=False, quarter_turns=0)
    assert np.array_equal(still.apply(grid(5)), grid(5))
