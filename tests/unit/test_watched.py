"""The detectors that tell and never act: their findings, and what the judge makes of them."""

import math

import pytest

from tests.replay.rig import (
    checkpoint,
    evaluation,
    lines_of,
    noisy,
    observe_all,
    report,
    started,
    verdicts_of,
)
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.interventions import Conclusion
from watchdog.records import (
    WATCHED_CAUSES,
    AttemptEnded,
    AttemptStarted,
    Outcome,
    Record,
    Tick,
)

CALM = noisy(2.2, 0.01, seed=3)
EXPLOSION = [0.24, 0.95, 2.4, 15.9, 145.0, 960.0]


def told(conclusions: list[Conclusion]) -> list[tuple[str, str, int]]:
    """Return (cause, status, onset step) of the suspicions of watched causes."""
    lines = lines_of(conclusions, "suspect")
    watched = {cause.value for cause in WATCHED_CAUSES}
    return [(x["cause"], x["status"], x["onset_step"]) for x in lines if x["cause"] in watched]


def judged(records: list[Record]) -> list[Conclusion]:
    return observe_all(Core(WatchdogConfig()), [*started(), *records])


def with_norms(norms: list[float | None]) -> list[Record]:
    return [report(s, CALM(0, s), grad_norm=norm) for s, norm in enumerate(norms, start=1)]


def test_gradients_that_explode_are_told_before_the_loss_moves_and_end() -> None:
    calm: list[float | None] = [0.24 * CALM(0, s) / 2.2 for s in range(100)]
    conclusions = judged(with_norms([*calm, *EXPLOSION, *calm]))
    assert told(conclusions) == [
        ("gradients", "open", 103),
        ("gradients", "recovered", 103),
    ]
    assert verdicts_of(conclusions) == []


@pytest.mark.parametrize(
    "norms",
    [
        [None] * 200,
        [*[1.0] * 100, 10.0, *[1.0] * 100],
        [1.0 + 0.02 * i for i in range(200)],
        [math.nan] * 1 + [1.0] * 100,
    ],
    ids=["unknown", "single", "slow rise", "a lonely NaN"],
)
def test_other_gradients_are_not_told(norms: list[float | None]) -> None:
    assert told(judged(with_norms(norms))) == []


def test_checkpoints_are_not_trusted_while_gradients_explode() -> None:
    calm: list[float | None] = [0.24 * CALM(0, s) / 2.2 for s in range(100)]
    records = with_norms([*calm, *EXPLOSION, 1e4, 1e4, 1e4, 1e4])
    conclusions = judged([*records[:100], checkpoint(100), *records[100:]])
    assert lines_of(conclusions, "checkpoint_trusted") == []


def validated(losses: list[float], train: float = 0.995) -> list[Record]:
    """Return one epoch a validation, with a training loss that falls by `train`."""
    records: list[Record] = []
    for epoch, loss in enumerate(losses, start=1):
        records.append(report(epoch, 2.0 * train**epoch, epoch=float(epoch)))
        records.append(evaluation(epoch, val_loss=loss))
    return records


def test_validation_that_jumps_is_told_and_ends_when_it_is_calm_again() -> None:
    calm = [1.0 * CALM(0, i) for i in range(20)]
    conclusions = judged(validated([*calm, 400.0, *calm]))
    assert told(conclusions) == [
        ("unstable_validation", "open", 21),
        ("unstable_validation", "recovered", 21),
    ]


def test_drop_to_almost_nothing_is_as_wrong_as_a_jump() -> None:
    calm = [1.0 * CALM(0, i) for i in range(20)]
    assert told(judged(validated([*calm, 0.006])))[0][0] == "unstable_validation"


def test_validation_that_is_never_finite_is_told_and_not_acted_on() -> None:
    conclusions = judged(validated([math.inf] * 20))
    assert told(conclusions) == [("unstable_validation", "open", 1)]
    assert verdicts_of(conclusions) == []


def test_validation_that_falls_fast_is_calm() -> None:
    assert told(judged(validated([5.0 * 0.9**i for i in range(40)]))) == []


def test_validation_that_rises_while_training_falls_is_overfitting() -> None:
    losses = [1.0 * 0.95**i for i in range(10)] + [0.63 * 1.02**i for i in range(30)]
    conclusions = judged(validated(losses))
    assert told(conclusions)[0][:2] == ("overfitting", "open")
    assert verdicts_of(conclusions) == []


def test_rising_validation_loss_with_a_rising_metric_is_no_harm() -> None:
    records: list[Record] = []
    for epoch in range(1, 40):
        records.append(report(epoch, 2.0 * 0.95**epoch, epoch=float(epoch)))
        records.append(evaluation(epoch, val_loss=1.0 + 0.05 * epoch, val_metric=epoch / 100))
    assert told(judged(records)) == []


def test_rank_that_waits_for_its_data_is_a_straggler() -> None:
    def records(slow_s: float) -> list[Record]:
        return [
            report(s, CALM(0, s), rank=r, step_s=1.0, data_s=slow_s if r == 2 else 0.05)
            for s in range(1, 81)
            for r in range(4)
        ]

    core = Core(WatchdogConfig())
    found = told(observe_all(core, [*started(world_size=4), *records(0.6)]))
    assert [x[:2] for x in found] == [("straggler", "open")]
    core = Core(WatchdogConfig())
    assert told(observe_all(core, [*started(world_size=4), *records(0.2)])) == []


def test_rank_that_takes_half_as_long_again_is_a_straggler() -> None:
    records: list[Record] = [
        report(s, CALM(0, s), rank=r, step_s=1.6 if r == 1 else 1.0)
        for s in range(1, 81)
        for r in range(4)
    ]
    core = Core(WatchdogConfig())
    opened = lines_of(observe_all(core, [*started(world_size=4), *records]), "suspect")
    assert "rank 1 takes 1.6 s" in opened[0]["reason"]


@pytest.mark.parametrize("ranks", [2, 4])
def test_rank_that_computes_slowly_is_told_although_all_take_as_long_as_it(ranks: int) -> None:
    def records(slow_s: float) -> list[Record]:
        return [
            report(s, CALM(0, s), rank=r, step_s=1.0, own_s=slow_s if r == 1 else 0.3)
            for s in range(1, 81)
            for r in range(ranks)
        ]

    core = Core(WatchdogConfig())
    opened = lines_of(observe_all(core, [*started(world_size=ranks), *records(0.8)]), "suspect")
    assert "rank 1 takes 0.8 s for data and forward pass" in opened[0]["reason"]
    core = Core(WatchdogConfig())
    assert told(observe_all(core, [*started(world_size=ranks), *records(0.5)])) == []


class Clock:
    """A core that is told of steps and of the time; `skew_s` is what its own clock is ahead."""

    def __init__(self, skew_s: float = 0.0) -> None:
        self.core = Core(WatchdogConfig())
        self.skew_s = skew_s
        self.now_s = skew_s
        observe_all(self.core, started())

    def step(self, step: int, t_s: float) -> list[tuple[str, str, int]]:
        self.now_s = t_s + self.skew_s
        return told(list(self.core.observe(report(step, CALM(0, step), t_s=t_s))))

    def tick(self, t_s: float) -> list[tuple[str, str, int]]:
        """Tell the time in ticks of ten seconds; return what was told of the last."""
        out: list[tuple[str, str, int]] = []
        while self.now_s < t_s + self.skew_s:
            self.now_s = min(self.now_s + 10.0, t_s + self.skew_s)
            out = told(list(self.core.observe(Tick(t_s=self.now_s))))
        return out


def test_silence_past_its_deadline_is_a_stall_until_something_is_heard() -> None:
    clock = Clock()
    for step in range(1, 40):
        clock.step(step, 10.0 * step)
    assert clock.tick(390.0 + 999.0) == []
    assert clock.tick(390.0 + 1000.0) == [("stall", "open", 40)]
    assert clock.tick(390.0 + 1001.0) == []
    assert clock.step(40, 1400.0) == [("stall", "recovered", 40)]
    assert clock.tick(1401.0) == []


def test_start_of_an_attempt_has_a_deadline_of_its_own() -> None:
    clock = Clock()
    assert clock.tick(899.0) == []
    assert clock.tick(900.0) == [("stall", "open", 1)]


def test_attempt_that_has_ended_does_not_stall() -> None:
    clock = Clock()
    clock.core.observe(AttemptEnded(t_s=1.0, attempt=0, outcome=Outcome.EXCEPTION, step=0))
    assert clock.tick(10_000.0) == []


def test_attempt_that_starts_ends_the_silence_of_the_one_before() -> None:
    clock = Clock()
    assert clock.tick(900.0) == [("stall", "open", 1)]
    restarted = AttemptStarted(t_s=901.0, attempt=1, world_size=1, generation=1)
    assert told(list(clock.core.observe(restarted))) == [("stall", "superseded", 1)]
    assert clock.tick(1000.0) == []


def test_validation_or_checkpoint_is_no_silence() -> None:
    clock = Clock()
    for step in range(1, 40):
        clock.step(step, float(step))
    assert clock.tick(150.0) == []
    clock.core.observe(checkpoint(39, t_s=151.0))
    assert clock.tick(250.0) == []
    clock.core.observe(evaluation(39, t_s=251.0, val_loss=1.0))
    assert clock.tick(370.0) == []
    assert clock.tick(372.0) == [("stall", "open", 40)]


@pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
def test_clocks_that_disagree_are_no_silence(skew_s: float) -> None:
    clock = Clock(skew_s)
    for step in range(1, 40):
        clock.step(step, 10.0 * step)
    assert clock.tick(390.0 + 960.0) == []
    (told_s,) = [t for t in range(961, 1041) if clock.tick(390.0 + t)]
    assert abs(told_s - 1000) <= 30  # no more than one gap between ticks counts


def test_watchdog_that_was_away_heard_no_silence() -> None:
    clock = Clock()
    for step in range(1, 40):
        clock.step(step, float(step))
    assert told(list(clock.core.observe(Tick(t_s=50_000.0)))) == []
    assert clock.step(40, 50_001.0) == []


def test_tick_tells_nothing_of_what_was_found_at_steps() -> None:
    calm: list[float | None] = [0.24 * CALM(0, s) / 2.2 for s in range(100)]
    core = Core(WatchdogConfig())
    conclusions = observe_all(core, [*started(), *with_norms([*calm, *EXPLOSION])])
    assert told(conclusions) == [("gradients", "open", 103)]
    assert observe_all(core, [Tick(t_s=107.0), Tick(t_s=108.0)]) == []


def test_quick_steps_do_not_make_a_short_deadline() -> None:
    clock = Clock()
    for step in range(1, 40):
        clock.step(step, 0.01 * step)
    assert clock.tick(100.0) == []
    assert clock.tick(121.0) == [("stall", "open", 40)]
