"""The losses learn from labelled voxels alone, and stay finite."""

from __future__ import annotations

import pytest
import torch

from jobs.vesuvius.config import LossConfig
from jobs.vesuvius.distance import signed_distance
from jobs.vesuvius.losses import SurfaceLoss, connectivity_loss, labelled_mean
from jobs.vesuvius.model import build_unet
from tests.unit.vesuvius_folder import label_volume, small_config

TERMS = ("dice", "focal", "boundary", "cldice", "connectivity")
WEIGHTS = [
    pytest.param({name: 1.0 if name == term else 0.0 for name in TERMS}, id=term) for term in TERMS
]
ALL = dict.fromkeys(TERMS, 1.0)


def batch(size: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    label = label_volume(12)
    distance = signed_distance(label, 5.0)
    return (
        torch.from_numpy(label).expand(size, 1, -1, -1, -1),
        torch.from_numpy(distance).expand(size, 1, -1, -1, -1),
    )


def logits(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 1, 12, 12, 12, generator=torch.Generator().manual_seed(seed))


def value_and_gradient(loss: SurfaceLoss, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = given.clone().requires_grad_()
    value = loss(leaf, *batch())
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


@pytest.mark.parametrize("weights", [*WEIGHTS, pytest.param(ALL, id="all")])
@pytest.mark.parametrize("filler", [50.0, -50.0, float("inf"), float("nan")])
def test_unlabelled_voxels_change_neither_loss_nor_gradient(
    weights: dict[str, float], filler: float
) -> None:
    loss = SurfaceLoss(LossConfig(**weights, class_weights={"background": 1.94, "surface": 0.52}))  # type: ignore[arg-type]
    unlabelled = batch()[0] == 2
    value, gradient = value_and_gradient(loss, logits())
    changed, changed_gradient = value_and_gradient(loss, logits().masked_fill(unlabelled, filler))
    assert torch.equal(value, changed)
    assert torch.equal(gradient, changed_gradient)
    assert not gradient[unlabelled].any()
    assert gradient[~unlabelled].any()


@pytest.mark.parametrize("weights", WEIGHTS)
def test_right_answer_costs_less_than_wrong_and_than_chance(weights: dict[str, float]) -> None:
    loss = SurfaceLoss(LossConfig(**weights))  # type: ignore[arg-type]
    label, distance = batch()
    sure = torch.where(label == 1, 12.0, -12.0)
    right, chance, wrong = (float(loss(x, label, distance)) for x in (sure, 0 * sure, -sure))
    assert right < chance < wrong


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 100.0])
def test_low_precision_logits_give_finite_loss_and_gradient(
    dtype: torch.dtype, size: float
) -> None:
    leaf = (logits() * size).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = SurfaceLoss(LossConfig())(leaf, *batch())
    value.backward()
    assert value.dtype == torch.float32
    assert leaf.grad is not None
    assert torch.isfinite(value)
    assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("value", [0, 1, 2])
def test_patch_of_one_class_gives_a_finite_loss(value: int) -> None:
    leaf = logits().requires_grad_()
    label = torch.full((2, 1, 12, 12, 12), value, dtype=torch.uint8)
    SurfaceLoss(LossConfig())(leaf, label, torch.zeros_like(leaf)).backward()
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()


def test_nan_at_a_labelled_voxel_reaches_the_loss() -> None:
    broken = logits()
    broken[0, 0, 0, 0, 0] = float("nan")
    assert torch.isnan(SurfaceLoss(LossConfig())(broken, *batch()))


def test_loss_of_a_batch_is_the_mean_of_its_samples() -> None:
    label, distance = batch()
    label = label.clone()
    label[1, :, :6] = 2  # the samples have unequal numbers of labelled voxels
    loss, given = SurfaceLoss(LossConfig()), logits()
    single = [loss(given[i : i + 1], label[i : i + 1], distance[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(given, label, distance), torch.stack(single).mean())


def test_weight_of_zero_leaves_the_term_out() -> None:
    terms = SurfaceLoss(LossConfig(cldice=0.0, boundary=0.0)).terms(logits(), *batch())
    assert set(terms) == {"dice", "focal", "connectivity"}


def test_loss_is_the_weighted_sum_of_its_terms() -> None:
    config = LossConfig()
    loss = SurfaceLoss(config)
    terms = loss.terms(logits(), *batch())
    expected = sum(getattr(config, name) * float(value) for name, value in terms.items())
    assert float(loss(logits(), *batch())) == pytest.approx(expected)


def test_class_weights_scale_the_focal_loss() -> None:
    plain = SurfaceLoss(LossConfig()).terms(logits(), *batch())
    weights = {"background": 2.0, "surface": 2.0}
    doubled = SurfaceLoss(LossConfig(class_weights=weights)).terms(logits(), *batch())  # type: ignore[arg-type]
    torch.testing.assert_close(doubled["focal"], 2 * plain["focal"])
    torch.testing.assert_close(doubled["dice"], plain["dice"])


def test_gap_inside_a_sheet_costs_more_connections_than_a_missing_corner() -> None:
    truth = torch.zeros(1, 1, 8, 8, 8)
    truth[:, :, :, 4:6, :] = 1
    gap, corner = truth.clone(), truth.clone()
    gap[0, 0, 4, 4, 4] = 0
    corner[0, 0, 0, 4, 0] = 0
    perfect, missing, cut = (connectivity_loss(x, truth) for x in (truth, corner, gap))
    assert perfect == 0
    assert perfect < missing < cut


def test_labelled_mean_of_nothing_is_zero() -> None:
    nothing = torch.zeros(2, 1, 3, 3, 3, dtype=torch.bool)
    assert labelled_mean(torch.ones(2, 1, 3, 3, 3), nothing) == 0


def test_few_optimizer_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    model, loss = build_unet(small_config().model), SurfaceLoss(LossConfig())
    label, distance = batch()
    image = (label == 1).float() + 0.1 * logits()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    values = []
    for _ in range(15):
        value = loss(model(image), label, distance)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.7 * values[0]
