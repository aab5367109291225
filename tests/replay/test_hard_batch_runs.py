"""Runs over several epochs with a sample that spikes each time, or that cost a rollback."""

import math
import random
from dataclasses import dataclass

import pytest

from tests.replay.rig import Rig, noisy, only
from watchdog.records import Action

SIZE, RANKS = 80, 2
STEPS_PER_EPOCH = SIZE // RANKS
HARD = 17
CALM = noisy(2.2, 0.01, seed=1)


@dataclass
class EpochRig(Rig):
    """Each epoch has its own order of `SIZE` samples; one with `hard` among them spikes."""

    hard: int = HARD
    factor: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dataset_size = SIZE
        self.loss_at = self._loss

    def samples_of(self, step: int, rank: int) -> tuple[int, ...]:
        number, offset = divmod(step - 1, STEPS_PER_EPOCH)
        order = random.Random(number).sample(range(SIZE), SIZE)
        return (number * SIZE + order[offset * RANKS + rank],)

    def _loss(self, generation: int, step: int) -> float:
        batch = {s % SIZE for rank in range(RANKS) for s in self.samples_of(step, rank)}
        return CALM(generation, step) * (self.factor if self.hard in batch else 1.0)


@pytest.fixture(scope="module")
def run() -> EpochRig:
    return EpochRig(lambda g, s: math.nan, 6 * STEPS_PER_EPOCH, config=only("spike")).play()  # type: ignore[return-value]


def test_a_sample_that_spikes_in_every_epoch_is_found_among_all_others(run: EpochRig) -> None:
    assert run.core.snapshot().hard_samples == (HARD,)


def test_a_hard_batch_is_never_acted_on(run: EpochRig) -> None:
    assert run.verdicts == []


def test_the_suspicion_of_a_known_hard_batch_says_so(run: EpochRig) -> None:
    opened = [line for line in run.lines("suspect") if line["status"] == "open"]
    assert len(opened) >= 4
    assert "hard_samples" not in opened[0]
    assert all(line["hard_samples"] == [HARD] for line in opened[2:])


def test_samples_of_a_batch_that_cost_a_rollback_are_listed_and_in_the_proof() -> None:
    class Burst(EpochRig):
        def _loss(self, generation: int, step: int) -> float:
            is_bad = generation == 0 and 45 <= step <= 47
            return math.nan if is_bad else CALM(generation, step)

    run = Burst(lambda g, s: math.nan, 100, config=only("nonfinite")).play()
    (verdict,) = run.verdicts
    assert verdict.action is Action.ROLLBACK
    skipped = {ordinal % SIZE for ordinal in verdict.skip_samples}
    assert set(run.core.snapshot().hard_samples) == skipped
    (proof,) = run.lines("proof")
    assert {row["index"] for row in proof["hard_batches"]} == skipped
    assert all(row["has_rolled_back"] for row in proof["hard_batches"])


def test_what_is_known_of_hard_batches_outlives_a_restart() -> None:
    rig = EpochRig(
        lambda g, s: math.nan,
        5 * STEPS_PER_EPOCH,
        config=only("spike"),
        dies_at=frozenset({(0, 3 * STEPS_PER_EPOCH)}),
    )
    run = rig.play()
    assert [v.action for v in run.verdicts] == [Action.RESTART]
    assert run.core.snapshot().hard_samples == (HARD,)
