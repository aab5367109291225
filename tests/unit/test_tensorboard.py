"""What TensorBoard reads back from a run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner.tensorboard import EventWriter
from tests.unit import sample_run
from tests.unit.test_curves import rollback, step
from watchdog.records import EvalReport, Record


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the steps and values that TensorBoard shows for each tag."""
    with warnings.catch_warnings():
        # Its own imports warn on this Python; what it reads is what is tested.
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(
            str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=True
        )
        events.Reload()
        tags = events.Tags()["scalars"]
        return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def write(folder: Path, records: Sequence[Record]) -> dict[str, list[tuple[int, float]]]:
    writer = EventWriter(folder)
    for record in records:
        writer.observe(record)
    writer.close()
    return scalars(folder)


def test_loss_is_the_mean_over_ranks(tmp_path: Path) -> None:
    found = write(tmp_path, [step(1, loss=1.0), step(1, rank=1, loss=2.0), step(2, loss=0.5)])
    assert found["train/loss"] == [(1, 1.5), (2, 0.5)]


def test_superseded_steps_are_purged(tmp_path: Path) -> None:
    told: list[Record] = [step(n, loss=float(n)) for n in (1, 2, 3, 4)]
    told += [rollback(4, 2, 1), step(3, generation=1, loss=30.0)]
    assert write(tmp_path, told)["train/loss"] == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_several_rollbacks_within_a_second_keep_their_order(tmp_path: Path) -> None:
    told: list[Record] = [step(1, loss=1.0), step(2, loss=2.0), step(3, loss=3.0)]
    for generation in range(1, 12):
        told.append(rollback(3, 1, generation))
        told += [step(n, generation=generation, loss=generation * 10.0 + n) for n in (2, 3)]
    assert write(tmp_path, told)["train/loss"] == [(1, 1.0), (2, 112.0), (3, 113.0)]


def test_a_late_record_of_a_superseded_generation_is_passed_over(tmp_path: Path) -> None:
    told: list[Record] = [step(1), rollback(2, 1, 1), step(2, generation=1, loss=5.0), step(2)]
    assert write(tmp_path, told)["train/loss"] == [(1, 1.0), (2, 5.0)]


def test_a_driver_that_tells_the_trace_again_leaves_no_duplicates(tmp_path: Path) -> None:
    write(tmp_path, [step(1), step(2), step(3)])
    assert write(tmp_path, [step(1), step(2)])["train/loss"] == [(1, 1.0), (2, 1.0)]


def test_values_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    found = write(tmp_path, [step(1, loss=1.0), step(2, loss=math.nan), step(3, loss=3.0)])
    assert found["train/loss"] == [(1, 1.0), (3, 3.0)]


def test_all_validation_metrics_are_written_by_name(tmp_path: Path) -> None:
    report = EvalReport(
        t_s=1.0, attempt=0, generation=0, step=5, val_loss=0.5, metrics={"dice": 0.25}
    )
    found = write(tmp_path, [report])
    assert found == {"validation/dice": [(5, 0.25)], "validation/val_loss": [(5, 0.5)]}


def test_the_sample_run_reads_back_without_gap_or_duplicate(tmp_path: Path) -> None:
    found = write(tmp_path, sample_run.records())
    assert [number for number, _ in found["train/loss"]] == list(range(1, sample_run.LAST_STEP + 1))
    rates = dict(found["train/learning_rate"])
    assert rates[32] == pytest.approx(0.002)
    assert rates[33] == pytest.approx(0.001)
