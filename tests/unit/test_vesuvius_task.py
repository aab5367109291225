"""The task scores held-out volumes without their unlabelled voxels, and beats a constant."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import compute_surface_dice
from pydantic import ValidationError
from torch import nn

from jobs.vesuvius.config import Config
from jobs.vesuvius.metrics import best_constant_dice, dice, surface_dice
from jobs.vesuvius.task import SCORES, TASK, VesuviusTask
from runner.spec import TrainConfig
from runner.spec_reader import read_spec
from runner.task import TaskContext
from tests.unit.vesuvius_folder import label_volume, small_config, write_folder


def task(tmp_path: Path, config: Config | None = None, *, generated: bool = False) -> VesuviusTask:
    context = TaskContext(
        train=TrainConfig(max_steps=10, batch_size=2, lr=0.01),
        data_dir=None if generated else write_folder(tmp_path / "set"),
        cache_dir=tmp_path / "cache",
        device=torch.device("cpu"),
    )
    return TASK(config or small_config(), context)


class Constant(nn.Module):
    """Answers one logit everywhere."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.full_like(image, self.logit)


class Grey(nn.Module):
    """Answers the grey value, which in the made folder is the right answer."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image - 1.0


def summary(given: VesuviusTask, model: nn.Module) -> dict[str, float]:
    with torch.no_grad():
        items = [given.evaluate(model, index) for index in range(given.validation_size())]
    assert repr(pickle.loads(pickle.dumps(items))) == repr(items)
    return given.summarize(items)


def test_validation_reports_loss_dice_and_surface_dice(tmp_path: Path) -> None:
    scores = summary(task(tmp_path), Grey())
    assert set(scores) == set(SCORES)
    parts = (scores["topo_score"], scores["surface_dice"], scores["voi_score"])
    weighted = 0.30 * parts[0] + 0.35 * parts[1] + 0.35 * parts[2]
    assert scores["competition_score"] == pytest.approx(weighted)
    assert scores["dice"] > 0.95
    assert scores["surface_dice"] > 0.95


def test_trivial_dice_is_that_of_the_best_constant_model(tmp_path: Path) -> None:
    given = task(tmp_path)
    trivial = given.trivial_metrics()
    assert summary(given, Constant(5.0))["dice"] == pytest.approx(trivial["dice"])
    assert summary(given, Constant(-5.0))["dice"] == 0.0
    assert 0 < trivial["dice"] < 0.5
    assert given.metric in trivial


def test_validation_crop_is_bounded(tmp_path: Path) -> None:
    config = small_config(validation={"max_side": 10, "max_volumes": 1})
    given = task(tmp_path, config)
    assert given.validation_size() == 1
    assert tuple(given._crop(0).label.shape) == (1, 1, 10, 10, 10)


def test_model_of_nan_scores_a_nan_loss_and_no_overlap(tmp_path: Path) -> None:
    scores = summary(task(tmp_path), Constant(float("nan")))
    assert np.isnan(scores["val_loss"])
    assert scores["dice"] == 0.0


def test_training_on_generated_volumes_lowers_the_loss(tmp_path: Path) -> None:
    given = task(tmp_path, small_config(patch_size=16), generated=True)
    torch.manual_seed(0)
    model = given.build_model()
    optimizer = given.build_optimizer(model)
    source = given.train_data()
    samples = [source.get(index, np.random.default_rng(index)) for index in range(4)]
    batch = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
    losses = []
    for _ in range(12):
        loss = given.training_step(model, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_model_keeps_the_shape_and_gives_one_logit_a_voxel(tmp_path: Path) -> None:
    logits = task(tmp_path).build_model()(torch.zeros(2, 1, 8, 8, 8))
    assert logits.shape == (2, 1, 8, 8, 8)


def test_undefined_scores_are_left_out_of_the_mean(tmp_path: Path) -> None:
    items = [
        {"val_loss": 1.0, "dice": None, "surface_dice": None},
        {"val_loss": 3.0, "dice": 0.5, "surface_dice": None},
    ]
    assert task(tmp_path).summarize(items) == {"val_loss": 2.0, "dice": 0.5}


def test_dice_ignores_predictions_on_unlabelled_voxels() -> None:
    label = label_volume()
    right = label == 1
    assert dice(right, label) == 1.0
    assert dice(right | (label == 2), label) == 1.0
    assert surface_dice(right | (label == 2), label, 2.0) == 1.0


def test_scores_without_surface_are_undefined_or_zero() -> None:
    label = np.zeros((6, 6, 6), np.uint8)
    none, some = np.zeros(label.shape, np.bool_), np.ones(label.shape, np.bool_)
    assert dice(none, label) is None
    assert surface_dice(none, label, 2.0) is None
    assert dice(some, label) == surface_dice(some, label, 2.0) == 0.0
    assert best_constant_dice(np.full((4, 4, 4), 2, np.uint8)) is None


@pytest.mark.parametrize(("moved", "expected"), [(2, 1.0), (3, 0.5), (6, 0.0)])
def test_surface_dice_is_exact_at_the_tolerance(moved: int, expected: float) -> None:
    label = np.zeros((8, 24, 8), np.uint8)
    label[:, 8:10, :] = 1
    predicted = np.roll(label == 1, moved, axis=1)
    assert surface_dice(predicted, label, 2.0) == expected


@pytest.mark.filterwarnings("ignore:(?s).*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.0])
def test_surface_dice_equals_monais(tolerance: float) -> None:
    label = label_volume()
    predicted = np.random.default_rng(0).random(label.shape) > 0.7
    masked = torch.from_numpy(predicted & (label != 2))[None, None].float()
    truth = torch.from_numpy(label == 1)[None, None].float()
    expected = compute_surface_dice(masked, truth, [tolerance], include_background=True)
    assert surface_dice(predicted, label, tolerance) == pytest.approx(float(expected))


@pytest.mark.parametrize("variant", [None, "full", "stuck", "quick"])
def test_every_variant_of_the_job_file_is_valid(variant: str | None) -> None:
    resolved = read_spec("vesuvius", variant=variant)
    assert isinstance(resolved.task_config, Config)
    assert Config.model_validate(resolved.spec.model_dump(mode="json")["task"]) == (
        resolved.task_config
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 30}, r"patch_size=30 .* task\.patch_size"),
        ({"patch_size": 8, "model": {"channels": [2, 2, 2, 2]}}, r"patch_size=8 .* task\.patch"),
        ({"patch_size": 128}, r"validation\.max_side=96 .* task\.patch_size=128"),
        ({"validation": {"share": 0.5, "fold": 2}}, r"fold=2 does not exist: share=0\.5 makes 2"),
        (
            {"loss": dict.fromkeys(("dice", "focal", "boundary", "cldice", "connectivity"), 0)},
            "all five loss weights are 0",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate(settings)
