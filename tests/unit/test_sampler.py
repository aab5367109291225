"""The data position is exact at every world size."""

from __future__ import annotations

from collections import Counter

import pytest

from runner.sampler import SampleOrder, sample_rng


def order(position: int = 0, skip: tuple[int, ...] = (), batch_size: int = 4) -> SampleOrder:
    return SampleOrder(size=10, batch_size=batch_size, seed=3, position=position, skip=skip)


def take(samples: SampleOrder, batches: int) -> list[int]:
    return [o for _ in range(batches) for o in samples.next_batch().ordinals]


def test_each_sample_is_seen_once_in_an_epoch() -> None:
    ordinals = take(order(), 5)
    assert Counter(o % 10 for o in ordinals) == dict.fromkeys(range(10), 2)
    assert sorted(o // 10 for o in ordinals) == [0] * 10 + [1] * 10


def test_a_position_continues_the_same_order() -> None:
    whole = order()
    head = take(whole, 3)
    assert take(order(position=whole.position), 4) == take(order(), 7)[len(head) :]


def test_skipped_samples_are_left_out_and_nothing_else_moves() -> None:
    plain = take(order(), 5)
    skipped = (plain[1], plain[6])
    kept = [o for o in plain if o not in skipped]
    assert take(order(skip=skipped), 4) == kept[:16]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_the_ranks_share_a_batch_without_overlap_or_loss(world_size: int) -> None:
    batch = order().next_batch()
    shares = [batch.share(rank, world_size) for rank in range(world_size)]
    assert sorted(o for share in shares for o in share) == sorted(batch.ordinals)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_batch_may_be_larger_than_the_data_set() -> None:
    assert len(order(batch_size=25).next_batch().ordinals) == 25


def test_an_empty_data_set_has_no_order() -> None:
    with pytest.raises(ValueError, match="0 samples"):
        SampleOrder(size=0, batch_size=1, seed=0)


def test_the_generator_of_a_sample_depends_on_seed_epoch_and_index_alone() -> None:
    draw = sample_rng(3, 14, 10).random(4).tolist()
    assert sample_rng(3, 14, 10).random(4).tolist() == draw
    assert sample_rng(3, 4, 10).random(4).tolist() != draw
    assert sample_rng(4, 14, 10).random(4).tolist() != draw
