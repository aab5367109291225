import pytest

from watchdog.rate import Rate


def lowered(scale: float, healthy_steps: int) -> Rate:
    rate = Rate()
    rate.restored(scale, 40)
    rate.healthy_steps = healthy_steps
    return rate


@pytest.mark.parametrize(
    ("scale", "healthy_steps", "after_steps", "lifted"),
    [
        (0.5, 100, 100, 1.0),
        (0.5, 99, 100, None),
        (0.125, 100, 100, 0.25),
        (0.7, 100, 100, 1.0),  # never above the job's own rate
        (1.0, 999, 100, None),
        (4.0, 999, 100, None),  # a probe found it better so
        (0.5, 999, None, None),  # nobody asked
    ],
)
def test_a_lowered_rate_is_doubled_after_exactly_enough_healthy_steps(
    scale: float, healthy_steps: int, after_steps: int | None, lifted: float | None
) -> None:
    assert lowered(scale, healthy_steps).next_lift(after_steps) == lifted


def test_after_a_lift_that_was_followed_by_an_incident_the_wait_is_four_times_as_long() -> None:
    rate = lowered(0.5, 100)
    rate.lifted()
    rate.struck()
    rate.healthy_steps = 399
    assert rate.next_lift(100) is None
    rate.healthy_steps = 400
    assert rate.next_lift(100) == 1.0


def test_an_incident_that_followed_no_lift_only_starts_the_count_anew() -> None:
    rate = lowered(0.5, 99)
    rate.struck()
    assert rate.healthy_steps == 0
    rate.healthy_steps = 100
    assert rate.next_lift(100) == 1.0


def test_steps_up_to_a_change_keep_the_scale_before_it() -> None:
    rate = lowered(0.5, 0)
    rate.changed(1.0, 80)
    assert [rate.scale_at(step) for step in (79, 80, 81)] == [0.5, 0.5, 1.0]


def test_steps_of_a_restored_checkpoint_have_the_scale_at_once() -> None:
    rate = lowered(0.5, 0)
    assert [rate.scale_at(step) for step in (39, 40, 41)] == [0.5, 0.5, 0.5]
