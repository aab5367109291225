"""How long faults take to be found and healed: the buckets, and what is counted in them."""

import math
from collections.abc import Mapping

import pytest

from tests.replay.rig import Rig, checkpoint, noisy, observe_all, only, report, started
from watchdog.core import Core
from watchdog.latency import BOUNDS_S, Histogram, Latencies
from watchdog.records import AttemptEnded, Cause, Outcome

CALM = noisy(2.2, 0.01, seed=1)


def nan_burst(generation: int, step: int) -> float:
    return math.nan if generation == 0 and 45 <= step < 50 else CALM(generation, step)


def sums(histograms: Mapping[Cause, Histogram]) -> dict[Cause, tuple[int, float]]:
    return {c: (h.cumulative()[-1], round(h.sum_s, 6)) for c, h in histograms.items()}


def test_a_duration_at_a_bound_is_within_it() -> None:
    histogram = Histogram().add(BOUNDS_S[0])
    assert histogram.cumulative()[0] == 1
    assert Histogram().add(BOUNDS_S[0] + 1e-9).cumulative()[:2] == (0, 1)


def test_what_is_longer_than_every_bound_is_counted() -> None:
    assert Histogram().add(1e6).cumulative() == (0,) * len(BOUNDS_S) + (1,)


def test_buckets_reach_from_milliseconds_to_hours_and_rise() -> None:
    assert (BOUNDS_S[0], BOUNDS_S[-1]) == (0.01, 4 * 3600)
    assert list(BOUNDS_S) == sorted(set(BOUNDS_S))


@pytest.mark.parametrize("seconds", [math.nan, math.inf])
def test_a_duration_that_is_not_finite_is_not_counted(seconds: float) -> None:
    latencies = Latencies()
    latencies.detected(Cause.CRASH, seconds)
    assert latencies.detection() == {}


def test_clocks_that_disagree_make_no_negative_duration() -> None:
    latencies = Latencies()
    latencies.recovered(Cause.CRASH, -3.0)
    assert sums(latencies.recovery()) == {Cause.CRASH: (1, 0.0)}


def test_a_burst_is_timed_from_its_first_step_to_the_first_after_the_rollback() -> None:
    run = Rig(nan_burst, 80).play()
    snapshot = run.core.snapshot()
    (verdict,) = run.verdicts
    assert sums(snapshot.detection_s) == {Cause.NONFINITE: (1, verdict.t_s - 45.0)}
    first = next(
        r for r in run.records if getattr(r, "generation", 0) == 1 and getattr(r, "step", 0) == 33
    )
    assert sums(snapshot.recovery_s) == {Cause.NONFINITE: (1, round(first.t_s - verdict.t_s, 6))}


def test_a_death_is_found_as_long_after_the_last_step_as_it_is_told() -> None:
    core = Core(only("nonfinite"))
    died = AttemptEnded(t_s=27.5, attempt=0, outcome=Outcome.WORKER_DIED, step=20)
    steps = [report(s, CALM(0, s)) for s in range(1, 21)]
    observe_all(core, [*started(), *steps, died])
    assert sums(core.snapshot().detection_s) == {Cause.CRASH: (1, 7.5)}
    assert core.snapshot().recovery_s == {}, "nobody trains yet"


def test_a_halt_is_found_and_never_healed() -> None:
    core = Core(only("nonfinite", policy={"budgets": {"nonfinite": 0}}))
    steps = [report(s, CALM(0, s) if s < 18 else math.nan) for s in range(1, 24)]
    observe_all(core, [*started(), checkpoint(8), *steps])
    assert sums(core.snapshot().detection_s) == {Cause.NONFINITE: (1, 2.0)}
    assert core.snapshot().recovery_s == {}


def test_the_time_of_each_recovery_is_charged_to_its_cause() -> None:
    run = Rig(nan_burst, 120, dies_at=frozenset({(0, 90)})).play()
    snapshot = run.core.snapshot()
    found = snapshot.recovery_time_s
    assert set(found) == {Cause.NONFINITE, Cause.CRASH}
    assert found[Cause.NONFINITE] == pytest.approx(0.1, abs=0.1)
    assert found[Cause.CRASH] > 1.0
    assert sum(found.values()) == pytest.approx(snapshot.time_s["recovery"])
