"""Two networks in one backward, two stages in one run, scores against the constant."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from jobs.bigearthnet.config import Config, LossConfig, ModelConfig
from jobs.bigearthnet.losses import adversarial_term, discriminator_term, pixel_terms
from jobs.bigearthnet.metrics import psnr_and_ssim
from jobs.bigearthnet.model import Discriminator, Generator, Judged, SuperResolution
from jobs.bigearthnet.task import TASK, BigEarthNetTask
from runner.spec import TrainConfig
from runner.task import TaskContext

TINY = {
    "features": 4,
    "growth": 4,
    "rrdb": 1,
    "rrfdb": 1,
    "discriminator_features": 4,
}
SETTINGS = {
    "crop": 8,
    "model": TINY,
    "adversarial_from_step": 5,
    "generated": {"patches": 5},
    "validation": {"max_patches": 1},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def task(cache: Path, **settings: object) -> BigEarthNetTask:
    context = TaskContext(
        train=TrainConfig(max_steps=10, batch_size=2, lr=0.01, weight_decay=0.0),
        data_dir=None,
        cache_dir=cache,
        device=torch.device("cpu"),
    )
    return TASK(Config.model_validate({**SETTINGS, **settings}), context)


def networks(*, is_alone: bool = False) -> SuperResolution:
    torch.manual_seed(0)
    config = ModelConfig.model_validate(TINY)
    generator = Generator(config, inputs=6, outputs=4, scale=2)
    return SuperResolution(generator, None if is_alone else Discriminator(4, 4))


def images() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(2, 6, 8, 8) * 2 - 1, torch.rand(2, 4, 16, 16) * 2 - 1


def grads(module: nn.Module) -> list[torch.Tensor]:
    found = [parameter.grad for parameter in module.parameters()]
    assert all(grad is not None for grad in found)
    return [grad.clone() for grad in found if grad is not None]


def test_one_backward_has_the_gradients_of_two_separate_ones() -> None:
    low, high = images()
    loss, both = LossConfig(adversarial=0.5), networks()
    judged = Judged(*both(low, high))
    pixels = sum(pixel_terms(judged.made, high, loss).values(), torch.zeros(()))
    (pixels + adversarial_term(judged, loss) + discriminator_term(judged, loss)).backward()  # type: ignore[no-untyped-call]

    apart = networks()
    assert apart.discriminator is not None
    made = apart.generator(low)
    of_made = apart.discriminator(made.clamp(-1, 1))
    generator_loss = sum(pixel_terms(made, high, loss).values(), torch.zeros(()))
    (generator_loss + 0.5 * nn.functional.softplus(-of_made).mean()).backward()  # type: ignore[no-untyped-call]
    for mine, theirs in zip(grads(both.generator), grads(apart.generator), strict=True):
        torch.testing.assert_close(mine, theirs)

    apart.zero_grad()
    shown, measured = apart.discriminator(made.detach().clamp(-1, 1)), apart.discriminator(high)
    cross_entropy = nn.functional.binary_cross_entropy_with_logits
    own = cross_entropy(shown, torch.zeros_like(shown))
    own = own + cross_entropy(measured, torch.ones_like(measured))
    (loss.discriminator * own).backward()  # type: ignore[no-untyped-call]
    assert both.discriminator is not None
    for mine, theirs in zip(grads(both.discriminator), grads(apart.discriminator), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_reported_loss_is_the_generators() -> None:
    low, high = images()
    judged = Judged(*networks()(low, high))
    assert discriminator_term(judged, LossConfig()).item() == 0.0


def test_the_second_stage_begins_at_its_step(cache: Path) -> None:
    given = task(cache)
    model = given.build_model()
    low, high = torch.zeros(1, 10, 8, 8), torch.zeros(1, 4, 16, 16)
    stages = []
    for step in (1, 4, 5, 4):
        given.begin_step(step)
        stages.append("adversarial" in given.loss_terms(model, {"low": low, "high": high}))
    assert stages == [False, False, True, False]


def test_the_discriminator_learns_at_twice_the_rate(cache: Path) -> None:
    given = task(cache)
    groups = given.build_optimizer(given.build_model()).param_groups
    assert [group["lr"] for group in groups] == [0.01, 0.02]


def test_without_a_second_stage_there_is_no_discriminator(cache: Path) -> None:
    given = task(cache, adversarial_from_step=None)
    model = given.build_model()
    assert isinstance(model, SuperResolution)
    assert model.discriminator is None
    assert len(given.build_optimizer(model).param_groups) == 1


@pytest.mark.parametrize("scale", [2, 4])
def test_the_generator_enlarges(scale: int) -> None:
    config = ModelConfig.model_validate(TINY)
    made = Generator(config, inputs=6, outputs=4, scale=scale)(torch.zeros(1, 6, 8, 8))
    assert made.shape == (1, 4, 8 * scale, 8 * scale)


def test_an_untrained_generator_starts_near_bicubic(cache: Path) -> None:
    given = task(cache)
    torch.manual_seed(0)
    with torch.no_grad():
        scores = given.evaluate(given.build_model().eval(), 0)
    assert abs(scores["gain_over_bicubic_db"]) < 0.1
    trivial = given.trivial_metrics()
    assert scores["psnr"] > trivial["psnr"] + 5
    assert scores["val_loss"] < trivial["val_loss"]


def test_two_steps_lower_the_loss_of_their_batch(cache: Path) -> None:
    given = task(cache)
    torch.manual_seed(0)
    model = given.build_model()
    optimizer = given.build_optimizer(model)
    low, high = torch.rand(2, 10, 8, 8), torch.rand(2, 4, 16, 16)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = given.training_step(model, {"low": low, "high": high})
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]


def test_psnr_of_a_zero_against_standard_normal_noise_is_the_seed_projects() -> None:
    torch.manual_seed(0)
    noise = torch.randn(1, 4, 256, 256)
    psnr, _ = psnr_and_ssim(torch.zeros_like(noise), noise)
    assert psnr == pytest.approx(6.02, abs=0.05)
    terms = pixel_terms(torch.zeros_like(noise), noise, LossConfig(l1=1.0, mse=0.0))
    assert float(terms["l1"]) == pytest.approx(math.sqrt(2 / math.pi), abs=0.003)
    assert round(math.sqrt(2 / math.pi), 4) == 0.7979


def test_the_floor_of_noise_is_known_beforehand(cache: Path) -> None:
    given = task(cache, unreadable="noise", damaged_share=1.0, loss={"l1": 1.0, "mse": 0.0})
    assert given.trivial_loss() == pytest.approx(math.sqrt(2 / math.pi), rel=0.01)
