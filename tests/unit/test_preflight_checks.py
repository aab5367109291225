"""Every check passes a whole job, names its defect, and is silent about other checks' defects."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from runner.job import Job
from runner.preflight.bench import Bench
from runner.preflight.checks import CHECKS, overfit
from runner.preflight.checks.files import duplicates
from runner.preflight.checks.lr_range import judge, rate_at
from runner.preflight.checks.memory import available_bytes
from runner.preflight.checks.versions import unmet
from runner.preflight.constant import best_constant_losses
from runner.preflight.findings import Level
from runner.preflight.grid import agreement, ramp
from runner.preflight.running import run_check
from runner.preflight.structure import neighbour_correlation, spectral_flatness
from runner.spec_reader import read_spec
from tests.unit.preflight_job import bench, found, level_of


def test_a_whole_job_passes_every_check(tmp_path: Path) -> None:
    given = bench("", tmp_path)
    findings = {name: found(name, given) for name in CHECKS}
    order = list(Level).index
    gravest = {n: max((f.level for f in fs), key=order) for n, fs in findings.items() if fs}
    assert {name for name, level in gravest.items() if level in (Level.WARN, Level.FAIL)} <= {
        "device"  # says of some machines that a GPU is not used
    }
    assert {name for name, level in gravest.items() if level is Level.UNCHECKED} == {
        "files",
        "labels",
    }


@pytest.mark.parametrize(
    ("defect", "check", "level", "says"),
    [
        ("unreadable", "samples", Level.FAIL, "12 of 24 samples raise (50%); first: OSError"),
        ("nan", "samples", Level.FAIL, "image holds NaN or infinity"),
        ("flat", "samples", Level.FAIL, "image hardly varies"),
        ("saturated", "samples", Level.FAIL, "are exactly its greatest value 1: saturated"),
        ("uneven", "samples", Level.FAIL, "target has 2 shapes"),
        ("noise", "noise", Level.FAIL, "image is noise in 24 of 24 samples"),
        ("some noise", "noise", Level.WARN, "image is noise in 1 of 24 samples"),
        ("counted", "labels", Level.FAIL, "value 2 (unlabelled), 60% of the stored labels, is"),
        ("counted", "labels", Level.FAIL, "the loss sees 70% surface, 25% of what is labelled is"),
        ("leaking", "terms", Level.FAIL, "of the gradient comes from labels 1"),
        ("imbalance", "balance", Level.WARN, "ratio 25.0; always saying paper is right 96.2%"),
        ("empty", "balance", Level.WARN, "1 have none: glass"),
        ("corrupt", "files", Level.FAIL, "3 of 10 files cannot be read (30.0%): 7.png"),
        ("misaligned", "pairs", Level.FAIL, "down to -1.00, wanted +1"),
        ("channels", "shapes", Level.FAIL, "the model refuses the batch (image 4x1x16x16"),
        ("mismatch", "shapes", Level.FAIL, "output is 4x1x8x8, the target target is 4x1x16x16"),
        ("nan output", "loss", Level.FAIL, "output of the untrained model holds NaN"),
        ("detached", "loss", Level.FAIL, "does not depend on any weight"),
        ("no gradient", "gradients", Level.FAIL, "all gradients are zero"),
        ("uphill", "descent", Level.FAIL, "one step does not lower the loss"),
        ("uphill", "overfit", Level.FAIL, "nothing is learned"),
        ("idle", "gradients", Level.WARN, "2 of 6 parameters get no gradient: idle.weight"),
        ("idle term", "terms", Level.WARN, "l1 moves the weights by under 1%"),
        ("no metric", "validation", Level.WARN, "the summary has no score"),
    ],
)
def test_a_defect_is_named_by_its_check(
    tmp_path: Path, defect: str, check: str, level: Level, says: str
) -> None:
    findings = found(check, bench(defect, tmp_path))
    said = [finding for finding in findings if finding.level is level]
    assert any(says in finding.text for finding in said), findings
    assert all(finding.remedy for finding in said)


@pytest.mark.parametrize(
    ("defect", "check"),
    [
        ("channels", "overfit"),
        ("channels", "memory"),
        ("nan output", "descent"),
        ("uneven", "loss"),
    ],
)
def test_what_another_check_explains_is_unchecked(tmp_path: Path, defect: str, check: str) -> None:
    assert level_of(check, bench(defect, tmp_path)) is Level.UNCHECKED


def test_a_check_that_breaks_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = bench("", tmp_path)
    monkeypatch.setattr(type(given.task), "class_counts", lambda self: 1 / 0)
    [finding] = found("balance", given)
    assert finding.level is Level.WARN
    assert "ZeroDivisionError" in finding.text


def test_ignored_labels_get_no_gradient(tmp_path: Path) -> None:
    assert level_of("terms", bench("masked", tmp_path)) is Level.PASS
    assert level_of("labels", bench("masked", tmp_path)) is Level.PASS


def test_an_augmentation_that_is_not_offered_is_unchecked(tmp_path: Path) -> None:
    assert level_of("pairs", bench("no augmentation", tmp_path)) is Level.UNCHECKED


def test_a_rate_that_blows_up_is_named(tmp_path: Path) -> None:
    given = bench("", tmp_path, lr=1e12, clip_norm=None)
    [finding] = found("overfit", given)
    assert finding.level in (Level.FAIL, Level.WARN)
    assert "1e+12" in finding.text


def test_a_batch_that_is_hardly_begun_on_is_not_called_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overfit, "_LIMIT_S", 0.0)
    [finding] = found("overfit", bench("uphill", tmp_path))
    assert finding.level is Level.UNCHECKED
    assert "too few to tell" in finding.text


def test_a_model_that_begins_below_the_floor_need_not_learn_much(tmp_path: Path) -> None:
    given = bench("", tmp_path, lr=1e-7)
    [slow] = found("overfit", given)
    assert slow.level is Level.FAIL
    given.floor_loss = 10 * given.first_loss
    [finding] = found("overfit", given)
    assert finding.level is Level.PASS
    assert "begins well below a constant's" in finding.text


def test_what_lies_behind_a_layer_that_begins_at_zero_is_not_called_idle(tmp_path: Path) -> None:
    assert level_of("gradients", bench("zero start", tmp_path)) is Level.PASS


def test_a_first_step_too_small_to_see_is_not_called_wrong(tmp_path: Path) -> None:
    assert level_of("descent", bench("", tmp_path, lr=0.01, warmup_steps=10**9)) is Level.PASS


def test_the_floor_is_the_loss_of_the_mean(tmp_path: Path) -> None:
    given = bench("", tmp_path)
    batch = given.batch_of(8)
    [loss] = best_constant_losses(given, [batch], limit_s=20.0)
    assert loss == pytest.approx(batch["target"].var(correction=0).item(), rel=1e-3)
    [finding] = found("floor", given)
    assert finding.numbers["floor_loss"] > loss / 4


def test_estimate_counts_steps_and_validations(tmp_path: Path) -> None:
    given = bench("", tmp_path)
    found("validation", given)
    [finding] = found("speed", given)
    assert finding.numbers["estimate_s"] > 100 * finding.numbers["step_s"]
    assert finding.numbers["epoch_steps"] == 6


def test_duplicates_are_found_by_contents_alone(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c", "d")]
    for path, text in zip(paths, ("one", "two", "one", "longer"), strict=True):
        path.write_text(text)
    assert duplicates(paths[:2], paths[2:]) == ([(paths[2], paths[0])], True)
    assert duplicates(paths[1:2], paths[2:]) == ([], True)


def test_a_ramp_agrees_with_itself_at_another_resolution_and_not_with_its_mirror() -> None:
    fine = ramp((3, 32, 32), 1, np.dtype(np.float32))
    coarse = ramp((1, 8, 8), 1, np.dtype(np.uint8))
    assert agreement(fine, coarse) > 0.98
    assert agreement(fine[..., ::-1], coarse) < -0.98
    assert abs(agreement(np.rot90(fine, axes=(1, 2)), coarse)) < 0.05


def test_noise_and_images_are_told_apart() -> None:
    noise = np.random.default_rng(0).random((64, 64))
    smooth = noise.cumsum(0).cumsum(1)
    correlations = neighbour_correlation(noise), neighbour_correlation(smooth)
    assert correlations[0] is not None
    assert correlations[1] is not None
    assert abs(correlations[0]) < 0.05
    assert correlations[1] > 0.9
    assert spectral_flatness(noise) == pytest.approx(0.56, abs=0.03)
    assert spectral_flatness(smooth) < 0.1
    assert neighbour_correlation(np.ones((64, 64))) is None
    assert neighbour_correlation(noise[:2, :2]) is None


def test_requirements_that_are_not_met_are_said_in_words() -> None:
    wanted = [
        Requirement("numpy>=1"),
        Requirement("numpy<1"),
        Requirement("no-such-package>2"),
        Requirement("no-such-package; extra == 'other'"),
    ]
    said = list(unmet(wanted, extra="blobs"))
    assert len(said) == 2
    assert said[0].endswith("wanted <1")
    assert said[1] == "no-such-package is not installed, wanted >2"


def test_a_container_with_less_memory_than_the_machine_counts(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 2000 kB\nMemAvailable: 1000 kB\n")
    assert available_bytes(meminfo, tmp_path) == 1_024_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("100\n")
    assert available_bytes(meminfo, tmp_path) == 1_024_000
    (tmp_path / "memory.max").write_text("600\n")
    assert available_bytes(meminfo, tmp_path) == 500


def test_a_sweep_names_the_steepest_rate_and_one_that_is_too_high_or_low() -> None:
    # Flat, then falling around 1e-3, then rising.
    losses = [1.0 - 1 / (1 + np.exp(-3 * (np.log10(rate_at(i)) + 3))) for i in range(72)]
    losses += [losses[-1] + 0.1 * i for i in range(10)]
    good = judge(losses, 1e-3)
    assert good.level is Level.PASS
    assert 2e-4 < good.numbers["lr_steepest"] < 5e-3
    assert judge(losses, 1e-6).level is Level.WARN
    assert "too low" in judge(losses, 1e-6).text
    assert "too high" in judge(losses, 1.0).text
    assert judge([1.0] * 3, 1e-3).level is Level.UNCHECKED
    assert "falls at no rate" in judge([1.0 + i for i in range(40)], 1e-3).text


def test_room_on_the_disk_is_compared_with_the_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = bench("", tmp_path)
    usage = shutil._ntuple_diskusage(1000, 900, 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    [finding] = found("disk", given)
    assert finding.level is Level.FAIL
    assert "5 checkpoints" in finding.text


def test_a_job_with_a_loop_of_its_own_is_not_refused_for_what_only_a_run_can_try(
    tmp_path: Path,
) -> None:
    resolved = read_spec("plain_loop")
    job = Job(resolved.spec, resolved.task_config, None, str(tmp_path))
    own = Bench(job, tmp_path)
    for check in ("samples", "shapes", "gradients", "floor"):
        (finding,) = run_check(check, own).findings
        assert finding.level is Level.UNCHECKED
        assert "a loop of its own" in finding.text
