from watchdog.curve import Block, Curve, regroup


def curve_of(count: int) -> Curve:
    curve = Curve()
    for step in range(1, count + 1):
        curve.add(step, float(step))
    return curve


def test_memory_is_bounded_and_the_whole_curve_is_covered() -> None:
    curve = curve_of(100_000)
    assert 128 <= len(curve.blocks) < 256
    assert curve.blocks[0].first_step == 1
    assert curve.blocks[-1].last_step > 100_000 - curve.size
    gaps = [
        b.first_step - a.last_step for a, b in zip(curve.blocks, curve.blocks[1:], strict=False)
    ]
    assert set(gaps) == {1}


def test_block_holds_what_is_typical_of_its_losses() -> None:
    assert curve_of(4).blocks == [Block(1, 2, 1.5), Block(3, 4, 3.5)]


def test_superseded_steps_leave_the_curve() -> None:
    curve = curve_of(20)
    curve.truncate(11)
    assert curve.blocks[-1] == Block(9, 10, 9.5)
    curve.add(11, 0.0)
    curve.add(12, 0.0)
    assert curve.blocks[-1] == Block(11, 12, 0.0)


def test_newest_losses_are_counted_in_whole_blocks() -> None:
    assert [b.first_step for b in curve_of(20).newest(6)] == [15, 17, 19]


def test_regroup_makes_equal_groups_of_the_newest_blocks() -> None:
    blocks = curve_of(20).blocks
    assert regroup(blocks, 3) == [Block(3, 8, 5.5), Block(9, 14, 11.5), Block(15, 20, 17.5)]
    assert regroup(blocks, 100) == blocks
