"""Drill strings and what the faults do."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from runner.batches import RankBatch
from runner.drill import DrillError, DrillRunner
from runner.drill_grammar import FAULTS, During, Fault, check_drill, parse_drill
from runner.sampler import SampleOrder
from watchdog.errors import SpecError


class Counts:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, key: str) -> int:
        self.counts[key] += 1
        return self.counts[key] - 1


def test_a_drill_is_a_list_of_faults() -> None:
    faults = parse_drill("nan@step=40,rank=1,count=5; kill@step=80,times=2")
    assert faults == (
        Fault("nan", step=40, rank=1, count=5),
        Fault("kill", step=80, times=2),
    )


@pytest.mark.parametrize("empty", [None, "", " ; "])
def test_no_text_is_no_fault(empty: str | None) -> None:
    assert parse_drill(empty) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nann@step=4", "did you mean 'nan'"),
        ("nan@stap=4", "did you mean 'step'"),
        ("nan@step=x", "whole number"),
        ("nan@step=0", "whole number from 1"),
        ("nan@count=3", "no step"),
        ("nan@step", "no value"),
        ("spike@step=3,factor=big", "not a number"),
        ("nan", "no step"),
        ("nan@step=4,step=5", "said twice"),
        ("spike@step=4,factor=inf", "positive, finite"),
        ("oom@step=4,factor=1.5", "between 0 and 1"),
        ("slow@step=4,factor=0.5", "above 1"),
        ("kill@step=4,factor=2", "kill has no 'factor'"),
        ("kill@step=4,count=2", "kill has no 'count'"),
        ("kill_driver@step=4,rank=1", "strikes a process outside of the workers"),
        ("nan@step=4,during=recovery", "nan has no 'during'"),
        ("kill@during=lunch", "unknown during 'lunch'"),
        ("spike@step=4,sample=3", "spike has no 'sample'"),
        ("nan_batch@sample=3,count=2", "names one sample"),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_drill(text)


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_of_the_catalogue_needs_no_more_than_a_step(name: str) -> None:
    [fault] = parse_drill(f"{name}@step=7")
    assert (fault.name, fault.step, fault.times) == (name, 7, 1)


def test_a_moment_or_a_sample_stands_for_a_step() -> None:
    assert parse_drill("kill@during=recovery,rank=1;nan_batch@sample=0") == (
        Fault("kill", step=1, rank=1, during=During.RECOVERY),
        Fault("nan_batch", step=1, sample=0),
    )


@pytest.mark.parametrize(
    ("text", "workers", "is_on_cluster", "message"),
    [
        ("nan@step=101", (2, 2), False, "ends at train.max_steps=100"),
        ("nan@step=9,rank=2", (2, 2), False, "no rank=2 with WORKERS=2"),
        ("nan@step=9,rank=4", (1, 4), False, "no rank=4 with WORKERS=1-4"),
        ("kill@step=9", (0, 0), False, "one process"),
        ("kill_watchdog@step=9", (0, 0), False, "one process"),
        ("hang@step=9", (0, 0), False, "one process"),
        ("kill_node@step=9", (2, 2), False, "has one node"),
        ("kill_node@step=9", (2, 2), True, None),
        ("kill_driver@step=9;oom@step=9;nan@step=9,rank=0", (0, 0), False, None),
        ("nan@step=9,rank=3", (1, 4), False, None),
    ],
)
def test_what_cannot_happen_is_refused_before_anything_starts(
    text: str, workers: tuple[int, int], is_on_cluster: bool, message: str | None
) -> None:
    faults = parse_drill(text)
    if message is None:
        check_drill(faults, workers=workers, max_steps=100, is_on_cluster=is_on_cluster)
        return
    with pytest.raises(SpecError, match=message):
        check_drill(faults, workers=workers, max_steps=100, is_on_cluster=is_on_cluster)


def drilled(text: str, rank: int = 0, *, claims: Counts | None = None) -> DrillRunner:
    return DrillRunner(parse_drill(text), rank, 2, claims or Counts())


def gradient(drills: DrillRunner) -> float:
    weight = torch.ones(1, requires_grad=True)
    drills.distort_loss(weight.sum()).backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    return float(weight.grad)


def test_nan_poisons_the_gradient_for_count_steps_and_leaves_the_loss_alone() -> None:
    drills = drilled("nan@step=3,count=2", 0)
    bad = []
    for step in range(1, 7):
        drills.begin_step(step)
        bad.append(math.isnan(gradient(drills)))
        assert float(drills.distort_report(torch.tensor(2.0))) == 2.0
    assert bad == [False, False, True, True, False, False]


def test_a_recovery_ends_the_episode_and_it_does_not_come_back() -> None:
    drills = drilled("nan@step=3,count=5", 0)
    drills.begin_step(3)
    drills.reset()
    for step in range(1, 9):
        drills.begin_step(step)
        assert not math.isnan(gradient(drills))


def test_times_allows_as_many_episodes() -> None:
    drills = drilled("nan@step=3,times=2", 0)
    seen = 0
    for _ in range(4):
        drills.begin_step(3)
        seen += math.isnan(gradient(drills))
        drills.reset()
    assert seen == 2


def test_spike_multiplies_the_loss() -> None:
    drills = drilled("spike@step=2,factor=4", 0)
    drills.begin_step(2)
    assert gradient(drills) == 4.0
    assert float(drills.distort_report(torch.tensor(2.0))) == 8.0


def test_lr_lasts_until_a_recovery() -> None:
    drills = drilled("lr@step=2,factor=0.1", 0)
    drills.begin_step(1)
    assert drills.lr_factor() == 1.0
    drills.begin_step(2)
    drills.begin_step(5000)
    assert drills.lr_factor() == pytest.approx(0.1)
    drills.reset()
    assert drills.lr_factor() == 1.0


def test_a_fault_strikes_its_rank_alone() -> None:
    drills = drilled("exception@step=2,rank=1", 0)
    drills.begin_step(2)
    other = drilled("exception@step=2,rank=1", 1)
    with pytest.raises(DrillError, match="rank 1 at step 2"):
        other.begin_step(2)


def batch(*ordinals: int) -> RankBatch:
    """Return one rank's share in micro-batches of two; `x` says which ordinal it is."""
    pairs = [ordinals[i : i + 2] for i in range(0, len(ordinals), 2)]
    parts = tuple(({"x": torch.tensor(p).float(), "y": torch.tensor(p)}, len(p)) for p in pairs)
    return RankBatch(parts, ordinals, ordinals, 0)


def broken(drills: DrillRunner, *ordinals: int) -> list[int]:
    """Return which of the ordinals come out as NaN."""
    parts = drills.distort_batch(batch(*ordinals)).parts
    values = [float(x) for data, _ in parts for x in data["x"]]
    return [o for o, x in zip(ordinals, values, strict=True) if math.isnan(x)]


def test_a_broken_sample_is_broken_again_in_a_replay_and_after_a_restart() -> None:
    for _ in range(2):
        drills = drilled("nan_batch@step=1,sample=5")
        drills.break_samples(size=8, batch_size=4, seed=0, world_size=2)
        for _ in range(2):
            assert broken(drills, 0, 2, 5) == [5]
            drills.reset()
        assert broken(drills, 8 + 5) == [], "times=1 is one epoch"


def test_the_broken_batches_are_those_of_their_steps() -> None:
    drills = drilled("nan_batch@step=3,count=2,times=2")
    drills.break_samples(size=8, batch_size=2, seed=0, world_size=2)
    order = SampleOrder(size=8, batch_size=2, seed=0)
    steps = [order.next_batch().ordinals for _ in range(4)]
    assert [bool(broken(drills, *ordinals)) for ordinals in steps] == [False, False, True, True]
    assert broken(drills, 8 + steps[2][0]) == [8 + steps[2][0]]


def test_a_sample_beyond_the_data_set_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    drills = drilled("nan_batch@sample=8")
    drills.break_samples(size=8, batch_size=2, seed=0, world_size=2)
    assert broken(drills, *range(16)) == []
    assert "no sample=8 among 8" in caplog.text


def test_weights_become_nan_once() -> None:
    model = torch.nn.Linear(2, 1)
    drills = drilled("nan_weights@step=2")
    for step in (1, 2, 3):
        drills.begin_step(step)
        drills.distort_weights(model)
        assert bool(model.weight.isnan().any()) is (step == 2)
        torch.nn.init.ones_(model.weight)


def test_out_of_memory_lasts_until_the_micro_batch_fits() -> None:
    drills = drilled("oom@step=2,factor=0.5,times=9")
    drills.begin_step(1)
    drills.check_memory(8, 8)
    drills.begin_step(2)
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError, match="room for 4 samples, tried to hold 8"):
            drills.check_memory(8, 8)
    drills.check_memory(4, 8)


def test_what_was_refused_is_not_asked_for_again() -> None:
    claims = Counts()
    claims("0:oom/rank0")
    drills = drilled("oom@step=1", claims=claims)
    drills.begin_step(1)
    for _ in range(5):
        drills.check_memory(8, 8)
    assert claims.counts["0:oom/rank0"] == 2


def test_a_moment_strikes_once_from_its_step_on() -> None:
    drills = drilled("exception@during=checkpoint,step=5")
    drills.begin_step(5)
    drills.moment(During.CHECKPOINT, 4)
    drills.moment(During.RECOVERY, 6)
    with pytest.raises(DrillError, match="step 8"):
        drills.moment(During.CHECKPOINT, 8)
    drills.moment(During.CHECKPOINT, 12)


def test_a_hung_rank_waits_for_ever_and_hears_an_exception() -> None:
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 100:
            raise InterruptedError

    drills = DrillRunner(parse_drill("hang@step=1"), 0, 2, Counts(), sleep=sleep)
    with pytest.raises(InterruptedError):
        drills.begin_step(1)
    assert len(naps) == 100


def test_a_slow_rank_takes_a_multiple_of_its_own_step() -> None:
    naps: list[float] = []
    drills = DrillRunner(parse_drill("slow@step=2,factor=3"), 0, 2, Counts(), sleep=naps.append)
    for step in (1, 2, 3):
        drills.begin_step(step)
        drills.drag()
    assert len(naps) == 2
    assert all(nap > 0 for nap in naps)


def test_a_full_disk_leaves_no_room_while_it_lasts() -> None:
    drills = drilled("disk_full@step=2,count=2")
    full = []
    for step in range(1, 6):
        drills.begin_step(step)
        if drills.room_bytes(step) is not None:
            full.append(step)
    assert full == [2, 3]


def test_one_bit_of_one_checkpoint_is_flipped(tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    state.write_bytes(bytes(100))
    (tmp_path / "manifest.json").write_text("{}")
    drills = drilled("corrupt_checkpoint@step=5")
    drills.after_save(4, str(tmp_path))
    assert state.read_bytes() == bytes(100)
    drills.after_save(8, str(tmp_path))
    drills.after_save(12, str(tmp_path))
    assert sum(state.read_bytes()) == 1
    assert (tmp_path / "manifest.json").read_text() == "{}"
