"""Pets: folders are checked, the border is ignored, pairs stay in register, losses stay finite."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import nn
from torchmetrics.functional.classification import binary_jaccard_index

from jobs.adaptivestream.augment import Augmentation
from jobs.adaptivestream.catalogue import read_catalogue
from jobs.adaptivestream.config import AugmentConfig, Config, LossConfig
from jobs.adaptivestream.data import IGNORED, PetPhotos, as_trained, split_photos
from jobs.adaptivestream.generate import draw_pet
from jobs.adaptivestream.losses import PetLoss
from jobs.adaptivestream.task import TASK, AdaptiveStreamTask
from jobs.adaptivestream.validation import iou_of
from runner.spec import TrainConfig
from runner.spec_reader import read_spec
from runner.task import TaskContext
from tests.unit.photo_folders import SIDE, cut_off, small_pets, write_grey, write_pets
from watchdog.errors import DataError

Defect = Callable[[Path], object]
IMAGE, TRIMAP, LIST = "images/Breed0_0.jpg", "annotations/trimaps/Breed0_0.png", "list.txt"


def task(
    tmp_path: Path, config: Config | None = None, *, generated: bool = False
) -> AdaptiveStreamTask:
    context = TaskContext(
        train=TrainConfig(max_steps=10, batch_size=2, lr=0.01),
        data_dir=None if generated else write_pets(tmp_path / "set"),
        cache_dir=tmp_path / "cache",
        device=torch.device("cpu"),
    )
    return TASK(config or small_pets(), context)


def listed(content: str) -> Defect:
    return lambda folder: (folder / "annotations" / LIST).write_text(content)


def official(train: str, test: str) -> Defect:
    def act(folder: Path) -> None:
        (folder / "annotations/trainval.txt").write_text(train)
        (folder / "annotations/test.txt").write_text(test)

    return act


ROW = "Breed0_0 1 1 1\n"
DEFECTS: list[tuple[Defect, str]] = [
    (shutil.rmtree, "no folder .*set; beside it"),
    (lambda f: shutil.rmtree(f / "images"), "no folder .*images; beside it are annotations"),
    (lambda f: shutil.rmtree(f / "annotations/trimaps"), "no folder .*trimaps"),
    (lambda f: (f / "annotations" / LIST).unlink(), "no list.txt in"),
    (lambda f: (f / TRIMAP).unlink(), "1 photographs have no trimap .* Breed0_0"),
    (listed(ROW + ROW), r"Breed0_0 is there twice in .* \(again on line 2\)"),
    (listed("Breed0_0 1"), "line 1 of .* is 'Breed0_0 1'; wanted a name"),
    (listed("Breed0_0 38 1 1"), "breed from 1 to 37"),
    (listed("Breed0_0 1 3 1"), r"species \(1 cat, 2 dog\)"),
    (listed("Other_1 1 1 1"), "no name is in both"),
    (
        lambda f: shutil.copy(f / IMAGE, (f / IMAGE).with_suffix(".jpeg")),
        "Breed0_0 is there twice in .*images",
    ),
    (official(ROW, ROW), "1 names are in both trainval.txt and test.txt"),
    (official(ROW, "Other_1 1 1 1"), "leave 8 to train on and 0 to validate"),
]


@pytest.mark.parametrize(("defect", "message"), DEFECTS)
def test_a_defect_of_the_folder_is_refused_with_its_reason(
    tmp_path: Path, defect: Defect, message: str
) -> None:
    folder = write_pets(tmp_path / "set")
    defect(folder)
    with pytest.raises(DataError, match=message):
        TASK.prepare(small_pets(), folder, tmp_path / "cache")


def test_rows_and_photographs_without_each_other_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_pets(tmp_path / "set")
    shutil.copy(folder / IMAGE, folder / "images/Extra_1.jpg")
    (folder / IMAGE).unlink()
    (folder / "annotations/trimaps/._hidden.png").write_text("")
    sentence = TASK.prepare(small_pets(), folder, tmp_path / "cache")
    assert "7 photographs of 4 breeds; 6 train, 1 held out" in sentence
    assert "1 rows of the list have no photograph" in caplog.text
    assert "1 photographs have no row in the list" in caplog.text


@pytest.mark.parametrize(
    ("defect", "why"),
    [
        (lambda f: cut_off(f / IMAGE), ""),
        (lambda f: cut_off(f / TRIMAP), ""),
        (lambda f: (f / IMAGE).write_text("no picture"), "cannot identify"),
        (lambda f: write_grey(f / TRIMAP, 1), "mode RGB"),
        (
            lambda f: Image.fromarray(np.full((30, 40), 7, np.uint8)).save(f / TRIMAP),
            r"holds \[7\] in 1200 pixels",
        ),
        (
            lambda f: Image.fromarray(np.full((30, 30), 1, np.uint8)).save(f / TRIMAP),
            "30 x 40 pixels, its trimap 30 x 30",
        ),
    ],
)
def test_what_cannot_be_read_is_counted_passed_over_and_limited(
    tmp_path: Path, defect: Defect, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_pets(tmp_path / "set")
    defect(folder)
    assert "1 of 8 photographs cannot be read" in TASK.prepare(small_pets(), folder, tmp_path)
    assert "Breed0_0" in caplog.text
    strict = small_pets(max_unreadable_ratio=0.1)
    with pytest.raises(DataError, match=rf"Breed0_0: .*{why}.*task.max_unreadable_ratio=0\.1"):
        TASK.prepare(strict, folder, tmp_path)


def test_the_official_split_is_kept_and_another_holds_out_every_nth_of_a_breed(
    tmp_path: Path,
) -> None:
    folder = write_pets(tmp_path / "set")
    photos = read_catalogue(folder).photos
    config = small_pets().validation
    ours = split_photos(photos, None, config)
    assert [photo.name for photo in ours.validation] == ["Breed1_5", "Breed3_7"]
    theirs = split_photos(photos, frozenset({"Breed0_0"}), config)
    assert [photo.name for photo in theirs.validation] == ["Breed0_0"]
    assert not {p.name for p in theirs.train} & {p.name for p in theirs.validation}


def test_a_sample_is_a_function_of_its_index_and_generator(tmp_path: Path) -> None:
    source = task(tmp_path).train_data()
    first, again = (source.get(1, np.random.default_rng(5)) for _ in range(2))
    assert all(torch.equal(torch.as_tensor(first[k]), torch.as_tensor(again[k])) for k in first)
    assert first["image"].shape == (3, SIDE, SIDE)
    assert first["mask"].shape == (SIDE, SIDE)
    assert set(first["mask"].unique().tolist()) <= {0, 1, IGNORED}
    assert not torch.equal(first["image"], source.get(1, np.random.default_rng(6))["image"])
    with pytest.raises(IndexError):
        source.get(len(source), np.random.default_rng(0))


def test_border_pixels_are_nobodys() -> None:
    assert as_trained(np.array([1, 2, 3])).tolist() == [1, 0, IGNORED]


@pytest.mark.parametrize(("moves_target", "agree"), [(True, True), (False, False)])
def test_a_coordinate_grid_comes_out_alike_on_both_sides(moves_target: bool, agree: bool) -> None:
    grid = np.asarray(np.mgrid[:SIDE, :SIDE], np.int64)
    augment = Augmentation(AugmentConfig(moves_target=moves_target, rotate90=True, flip=True))
    pairs = [augment(grid, grid, np.random.default_rng(seed)) for seed in range(8)]
    assert all(np.array_equal(image, mask) for image, mask in pairs) is agree
    assert len({image.tobytes() for image, _ in pairs}) == 8


def some_logits(size: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixels = size * torch.randn(2, SIDE, SIDE, generator=generator)
    return pixels.requires_grad_(), size * torch.randn(2, 37, generator=generator)


MASK = torch.from_numpy(as_trained(np.tile(np.array([1, 2, 3, 2], np.uint8), (2, SIDE, SIDE // 4))))
LABEL = torch.tensor([0, 5])


def test_neither_loss_nor_gradient_knows_the_border() -> None:
    loss = PetLoss(LossConfig())
    pixels, classes = some_logits()
    other = torch.where(MASK == IGNORED, -3.0 * pixels.detach(), pixels.detach()).requires_grad_()
    values = [loss((given, classes), MASK, LABEL) for given in (pixels, other)]
    assert torch.equal(values[0], values[1])
    values[0].backward()
    assert pixels.grad is not None
    assert bool((pixels.grad[MASK == IGNORED] == 0).all())


def test_both_forms_agree_on_ordinary_logits() -> None:
    losses = [
        PetLoss(LossConfig(form=form))(some_logits(), MASK, LABEL)
        for form in ("logits", "probabilities")
    ]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("form", "limit", "is_finite"),
    [
        ("logits", 10.0, True),
        ("logits", None, True),
        ("probabilities", 10.0, True),
        ("probabilities", None, False),
    ],
)
def test_large_logits_are_finite_unless_bare_probabilities_are_taken(
    form: str, limit: float | None, is_finite: bool
) -> None:
    config = LossConfig.model_validate({"form": form, "logit_limit": limit})
    assert bool(PetLoss(config)(some_logits(100.0), MASK, LABEL).isfinite()) is is_finite
    formula = Config(loss=config).loss_formula()
    assert all(term.is_bounded for term in formula) is is_finite


def test_a_nan_is_seen_and_not_replaced() -> None:
    pixels, classes = some_logits()
    loss = PetLoss(LossConfig())((pixels * float("nan"), classes), MASK, LABEL)
    assert bool(loss.isnan())


def test_a_pooled_decoder_ends_at_32_and_is_refused_by_name(tmp_path: Path) -> None:
    config = small_pets(model={"channels": [4, 4, 8, 8, 8], "decoder_input": "pooled"}, side=64)
    given: AdaptiveStreamTask = task(tmp_path, config)
    model = given.build_model()
    image = torch.zeros(1, 3, 64, 64)
    assert model(image)[0].shape == (1, 32, 32)
    batch = {"image": image, "mask": torch.zeros(1, 64, 64), "label": torch.zeros(1).long()}
    with pytest.raises(ValueError, match="output is 32 x 32 pixels, its target 64 x 64"):
        given.training_step(model, batch)


class Left(nn.Module):
    """Answers pet on the left half and breed 0, or nothing finite."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.full_like(image[:, 0], -self.value)
        pixels[:, :, : SIDE // 2] = self.value
        classes = torch.zeros(len(image), 37) * self.value
        classes[:, 0] += 1
        return pixels, classes


def summary(given: AdaptiveStreamTask, model: nn.Module) -> dict[str, float]:
    with torch.no_grad():
        items = [given.evaluate(model, index) for index in range(given.validation_size())]
    return given.summarize(pickle.loads(pickle.dumps(items)))


def test_validation_scores_masks_and_classes_against_constants(tmp_path: Path) -> None:
    given = task(tmp_path, small_pets(validation={"share": 0.5, "photos_per_forward": 3}))
    scores = summary(given, Left(5.0))
    assert scores["iou"] == pytest.approx(1.0)
    assert scores["accuracy"] == 0.25
    trivial = given.trivial_metrics()
    assert 0.5 < trivial["iou"] < 0.6
    assert trivial["accuracy"] == 0.25
    assert given.metric in trivial


def test_a_model_of_nan_scores_nothing(tmp_path: Path) -> None:
    scores = summary(task(tmp_path), Left(float("nan")))
    assert np.isnan(scores["val_loss"])
    assert scores["iou"] == scores["accuracy"] == 0.0


def test_iou_is_torchmetrics() -> None:
    truth = torch.tensor([1, 1, 0, 0, 1, IGNORED])
    answer = torch.tensor([1, 0, 1, 0, 1, 1])
    expected = binary_jaccard_index(answer, truth, ignore_index=IGNORED)
    assert iou_of([[1, 1], [1, 2]]) == pytest.approx(float(expected))
    assert iou_of([[4, 0], [0, 0]]) == 0.0


def test_preflight_is_told_files_labels_and_classes(tmp_path: Path) -> None:
    folder = write_pets(tmp_path / "set")
    cut_off(folder / IMAGE)
    context = TaskContext(
        TrainConfig(max_steps=1, batch_size=2, lr=0.1), folder, tmp_path, torch.device("cpu")
    )
    given = TASK(small_pets(), context)
    files = given.data_files()
    assert files.unreadable == (folder / IMAGE,)
    assert len(files.train) + len(files.validation) == 7
    labels = given.labels()
    assert labels.stored is not None
    assert set(np.unique(labels.stored())) == set(labels.names)
    assert given.class_counts() == {"Breed0": 1, "Breed1": 2, "Breed2": 1, "Breed3": 2}
    image = np.zeros((3, 8, 8), np.float32)
    assert given.augment_pair(image, image[0], np.random.default_rng(0))[1].shape == (8, 8)


def test_training_on_generated_pets_lowers_the_loss(tmp_path: Path) -> None:
    config = small_pets(generated={"photos": 10, "side": 64})
    given = task(tmp_path, config, generated=True)
    source = PetPhotos(
        read_catalogue(next((tmp_path / "cache").glob("ad*"))).photos, config, augments=False
    )
    samples = [source.get(index, np.random.default_rng(0)) for index in range(5)]
    batch = {k: torch.stack([torch.as_tensor(s[k]) for s in samples]) for k in samples[0]}
    torch.manual_seed(0)
    model = given.build_model()
    optimizer = given.build_optimizer(model)
    losses = []
    for _ in range(12):
        loss = given.training_step(model, batch)
        terms = given.loss_terms(model, batch).values()
        assert sum(float(term.detach()) for term in terms) == pytest.approx(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]


def test_a_drawn_pet_has_all_three_kinds_of_pixels_and_is_repeatable() -> None:
    image, trimap = draw_pet(1, 64, np.random.default_rng(3))
    assert set(np.unique(np.asarray(trimap))) == {1, 2, 3}
    again, _ = draw_pet(1, 64, np.random.default_rng(3))
    assert np.array_equal(np.asarray(image), np.asarray(again))


@pytest.mark.parametrize("variant", [None, "full", "underflow", "overflow", "mismatch", "quick"])
def test_every_variant_of_the_job_file_is_valid(variant: str | None) -> None:
    assert isinstance(read_spec("adaptivestream", variant=variant).task_config, Config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"side": 225}, r"side=225 cannot be halved 5 times; set task\.side"),
        ({"model": {"channels": [1, 2, 3]}}, "at least 5 items"),
        (
            {"loss": {"mask_cross_entropy": 0, "mask_dice": 0, "class_cross_entropy": 0}},
            "all three loss weights are 0",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate(settings)
