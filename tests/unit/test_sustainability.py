"""Waste: thirty classes whatever is there, corrupt files counted, sizes that differ named."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torchmetrics.functional.classification import multiclass_f1_score

from jobs.sustainability.catalogue import CLASSES, read_catalogue, split_photos
from jobs.sustainability.config import Config, ModelConfig
from jobs.sustainability.data import WastePhotos
from jobs.sustainability.generate import draw_waste, ensure_generated, photos_of_class
from jobs.sustainability.model import VIT_SIZES, build_model
from jobs.sustainability.task import TASK, SustainabilityTask
from jobs.sustainability.validation import scores
from runner.spec import TrainConfig
from runner.spec_reader import read_spec
from runner.task import TaskContext
from tests.unit.photo_folders import SIDE, cut_off, small_waste, write_waste
from watchdog.errors import DataError

Defect = Callable[[Path], object]
FIRST = f"images/images/{CLASSES[0]}/default"


def task(tmp_path: Path, config: Config | None = None) -> SustainabilityTask:
    context = TaskContext(
        train=TrainConfig(max_steps=10, batch_size=2, lr=0.01),
        data_dir=write_waste(tmp_path / "set")
        if not (tmp_path / "set").exists()
        else tmp_path / "set",
        cache_dir=tmp_path / "cache",
        device=torch.device("cpu"),
    )
    return TASK(config or small_waste(), context)


def no_photo(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.unlink()


DEFECTS: list[tuple[Defect, str]] = [
    (shutil.rmtree, "no class folder such as aerosol_cans in .* which holds no folder"),
    (lambda f: (f / "images").rename(f / "pictures"), "which holds pictures"),
    (
        lambda f: (f / "images/images/tea_bag").mkdir(),
        "tea_bag is none of the 30 classes; did you mean tea_bags",
    ),
    (lambda f: (f / FIRST).rename(f / FIRST / "../studio"), "neither default nor real_world"),
    (no_photo, "no photograph in the class folders"),
]


@pytest.mark.parametrize(("defect", "message"), DEFECTS)
def test_a_defect_of_the_folder_is_refused_with_its_reason(
    tmp_path: Path, defect: Defect, message: str
) -> None:
    folder = write_waste(tmp_path / "set")
    defect(folder)
    with pytest.raises(DataError, match=message):
        TASK.prepare(small_waste(), folder, tmp_path / "cache")


def test_a_class_of_single_photographs_leaves_nothing_to_validate_with(tmp_path: Path) -> None:
    folder = write_waste(tmp_path / "set", photos=1)
    with pytest.raises(DataError, match="leave none to validate with: no class has two"):
        TASK.prepare(small_waste(), folder, tmp_path / "cache")


@pytest.mark.parametrize("nested", [True, False])
def test_both_layouts_are_read_in_the_order_of_their_numbers(tmp_path: Path, nested: bool) -> None:
    folder = write_waste(tmp_path / "set", photos=11, nested=nested)
    photos = read_catalogue(folder).photos
    assert Counter(photo.label for photo in photos) == {0: 22, 1: 22, 2: 22}
    assert [photo.path.stem for photo in photos[:11]] == [f"Image_{n}" for n in range(1, 12)]
    assert {photo.setting for photo in photos} == {"default", "real_world"}


def test_classes_without_a_folder_keep_their_place_and_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_waste(tmp_path / "set")
    shutil.rmtree(folder / f"images/images/{CLASSES[1]}")
    sentence = TASK.prepare(small_waste(), folder, tmp_path / "cache")
    assert "16 photographs of 2 of 30 classes; 12 train, 4 held out" in sentence
    assert "28 of 30 classes have no photograph" in caplog.text
    given = task(tmp_path)
    assert {photo.label for photo in read_catalogue(folder).photos} == {0, 2}
    assert given.build_model()(torch.zeros(1, 3, SIDE, SIDE)).shape == (1, 30)
    assert len(given.class_counts()) == 30
    assert given.class_counts()[CLASSES[1]] == 0


def test_corrupt_photographs_are_counted_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_waste(tmp_path / "set")
    cut_off(folder / FIRST / "Image_1.png")
    sentence = TASK.prepare(small_waste(), folder, tmp_path / "cache")
    assert "23 photographs" in sentence
    assert "1 of 24 photographs cannot be read and are passed over" in caplog.text
    given = task(tmp_path)
    assert given.data_files().unreadable == (folder / FIRST / "Image_1.png",)
    source = given.train_data()
    read = [source.get(index, np.random.default_rng(0))["image"] for index in range(len(source))]
    assert len(read) == 17
    assert all(bool(image.isfinite().all()) for image in read)


def test_too_many_corrupt_photographs_are_refused_unless_a_setting_lets_them_pass(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_waste(tmp_path / "set")
    for path in sorted(folder.rglob("*.png"))[::4]:
        cut_off(path)
    with pytest.raises(DataError, match=r"6 of 24 photographs .*25%.*max_unreadable_ratio=0\.2"):
        TASK.prepare(small_waste(), folder, tmp_path / "cache")
    lenient = small_waste(when_too_many="warn")
    assert "6 of 24" in TASK.prepare(lenient, folder, tmp_path / "cache")
    assert "25%, above task.max_unreadable_ratio=0.2, a data problem" in caplog.text
    for path in folder.rglob("*.png"):
        cut_off(path)
    with pytest.raises(DataError, match="24 of 24"):
        TASK.prepare(lenient, folder, tmp_path / "cache")


def test_each_class_and_setting_is_held_out_alike(tmp_path: Path) -> None:
    photos = read_catalogue(write_waste(tmp_path / "set", photos=5)).photos
    split = split_photos(photos, small_waste().validation)
    held = Counter((photo.label, photo.setting) for photo in split.validation)
    assert set(held.values()) == {1}
    assert len(held) == 6
    assert not {p.path for p in split.train} & {p.path for p in split.validation}


def test_a_sample_is_a_function_of_its_index_and_generator(tmp_path: Path) -> None:
    source = task(tmp_path).train_data()
    first, again = (source.get(4, np.random.default_rng(5))["image"] for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (3, SIDE, SIDE)
    assert first.dtype == torch.float32
    with pytest.raises(IndexError):
        source.get(-1, np.random.default_rng(0))


def test_sampling_by_class_draws_rare_classes_as_often(tmp_path: Path) -> None:
    folder = write_waste(tmp_path / "set", photos=4)
    for path in (folder / f"images/images/{CLASSES[2]}/default").glob("Image_[234].png"):
        path.unlink()
    photos = read_catalogue(folder).photos
    shares = {}
    for sampling in ("photographs", "classes"):
        source = WastePhotos(photos, small_waste(sampling=sampling), is_training=True)
        found = [source.get(i, np.random.default_rng(i))["label"] for i in range(len(source))]
        shares[sampling] = Counter(found)
    assert shares["photographs"] == {0: 8, 1: 8, 2: 5}
    assert shares["classes"] == {0: 7, 1: 7, 2: 7}


def test_another_size_than_the_models_is_refused_by_name(tmp_path: Path) -> None:
    given = task(tmp_path, small_waste(side=64))
    batch = {"image": given.train_data().get(0, np.random.default_rng(0))["image"][None]}
    batch["label"] = torch.tensor([0])
    with pytest.raises(ValueError, match=r"\(64, 64\) do not match the model's \(32, 32\)"):
        given.training_step(given.build_model(), batch)


def test_a_transformer_trains_every_weight_and_its_layers_differ() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(kind="vit", side=SIDE, patch=16))
    logits = model(torch.randn(2, 3, SIDE, SIDE))
    assert logits.shape == (2, 30)
    logits.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
    weights = dict(model.named_parameters())
    layers = [weights[f"model.encoder.layers.{place}.linear1.weight"] for place in (0, 1)]
    assert not torch.equal(*layers)


@pytest.mark.parametrize(("size", "millions"), [("tiny", 6), ("small", 22), ("base", 86)])
def test_a_transformers_size_is_what_its_name_says(size: str, millions: float) -> None:
    assert size in VIT_SIZES
    with torch.device("meta"):
        model = build_model(ModelConfig.model_validate({"kind": "vit", "vit_size": size}))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.1)


def test_scores_are_torchmetrics_over_the_classes_that_occur() -> None:
    answers, labels = torch.tensor([0, 0, 1, 4, 2]), torch.tensor([0, 1, 1, 2, 2])
    found = scores(answers, labels)
    expected = multiclass_f1_score(answers, labels, 5, average="macro")
    assert found["macro_f1"] == pytest.approx(float(expected))
    assert found["accuracy"] == pytest.approx(0.6)
    assert {name for name in found if "/" in name} == {f"f1/{CLASSES[c]}" for c in (0, 1, 2)}


class Constant(nn.Module):
    """Answers class 0, or nothing finite."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(image), 30)
        logits[:, 0] = self.value
        return logits


def summary(given: SustainabilityTask, model: nn.Module) -> dict[str, float]:
    with torch.no_grad():
        items = [given.evaluate(model, index) for index in range(given.validation_size())]
    return given.summarize(pickle.loads(pickle.dumps(items)))


def test_the_trivial_score_is_that_of_a_constant_model(tmp_path: Path) -> None:
    given = task(tmp_path, small_waste(validation={"photos_per_forward": 4}))
    trivial = given.trivial_metrics()
    constant = summary(given, Constant(1.0))
    assert trivial == {name: pytest.approx(constant[name]) for name in ("accuracy", "macro_f1")}
    assert trivial["accuracy"] == pytest.approx(1 / 3)
    assert given.metric in trivial


def test_a_model_of_nan_scores_nothing(tmp_path: Path) -> None:
    found = summary(task(tmp_path), Constant(float("nan")))
    assert np.isnan(found["val_loss"])
    assert found["accuracy"] == found["macro_f1"] == 0.0


def test_balanced_weights_have_a_mean_of_one_over_the_photographs(tmp_path: Path) -> None:
    folder = write_waste(tmp_path / "set")
    for path in (folder / f"images/images/{CLASSES[2]}").rglob("Image_[234].png"):
        path.unlink()
    given = task(tmp_path, small_waste(loss={"class_weights": "balanced"}))
    weight = given._loss.weight
    assert weight is not None
    counts = torch.tensor(list(given.class_counts().values()))
    assert float((weight * counts).sum() / counts.sum()) == pytest.approx(1.0)
    assert float(weight[2] / weight[0]) == pytest.approx(float(counts[0] / counts[2]))
    assert float(weight[3:].sum()) == 0


def test_the_generated_set_is_imbalanced_and_cut_off_as_asked(tmp_path: Path) -> None:
    generated = {"photos_per_class": 2, "imbalance": 24, "corrupt_share": 0.5, "side": SIDE}
    config = small_waste(generated=generated)
    many = config.generated.model_copy(update={"photos_per_class": 48})
    assert [photos_of_class(label, many) for label in (0, 15, 29)] == [24, 5, 1]
    folder = ensure_generated(config.generated, tmp_path)
    assert ensure_generated(config.generated, tmp_path) == folder
    with pytest.raises(DataError, match="30 of 60 photographs cannot be read"):
        TASK.prepare(config, None, tmp_path)


def test_a_generated_set_says_what_it_is_and_what_was_damaged_on_purpose(tmp_path: Path) -> None:
    generated = {"photos_per_class": 4, "corrupt_share": 0.1, "side": SIDE}
    config = small_waste(generated=generated)
    sentence = TASK.prepare(config, None, tmp_path)
    assert "training on 108 GENERATED drawings of waste, 10% of the files cut off" in sentence


def test_drawings_of_a_class_differ_and_are_repeatable() -> None:
    pictures = [
        np.asarray(draw_waste(7, SIDE, np.random.default_rng(seed), is_cluttered=True))
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize("variant", [None, "full", "wrong_size", "corrupt", "imbalance", "quick"])
def test_every_variant_of_the_job_file_is_valid(variant: str | None) -> None:
    assert isinstance(read_spec("sustainability", variant=variant).task_config, Config)


def test_a_side_that_patches_do_not_fill_is_refused() -> None:
    with pytest.raises(ValidationError, match="side=225 is not a multiple of patch=16"):
        ModelConfig(kind="vit", side=225)
