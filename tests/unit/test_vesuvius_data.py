"""Patches are balanced, never unlabelled, and image and label never part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from jobs.vesuvius.augment import Augmentation
from jobs.vesuvius.catalogue import read_catalogue
from jobs.vesuvius.config import AugmentConfig, Config
from jobs.vesuvius.data import SurfacePatches, as_trained
from jobs.vesuvius.distance import signed_distance
from jobs.vesuvius.sampling import densest_corner, draw_corner
from jobs.vesuvius.volumes import LoadedVolume
from tests.unit.vesuvius_folder import label_volume, small_config, write_folder

MOVES_ONLY = AugmentConfig(intensity_probability=0.0)


def loaded(label: npt.NDArray[np.uint8]) -> LoadedVolume:
    return LoadedVolume(
        volume_id="made",
        image=np.zeros_like(label),
        label=label,
        surface_by_slice=np.cumsum((label == 1).sum((1, 2))),
        labelled_by_slice=np.cumsum((label < 2).sum((1, 2))),
        mean=0.0,
        std=1.0,
    )


def patches(tmp_path: Path, config: Config | None = None) -> SurfacePatches:
    config = config or small_config()
    return SurfacePatches(read_catalogue(write_folder(tmp_path / "set"), 8).volumes, config)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def label_at(label: npt.NDArray[np.uint8], corner: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    return label[tuple(slice(at, at + 8) for at in corner)]


def test_share_of_patches_centred_on_surface_is_the_wanted_one() -> None:
    label = np.zeros((40, 40, 40), np.uint8)
    label[18:20, 18:20, 18:20] = 1  # so rare that a chance hit does not blur the count
    generator = rng()
    corners = [draw_corner(loaded(label), 8, 0.7, generator) for _ in range(1000)]
    centred = sum(label[d + 4, h + 4, w + 4] == 1 for d, h, w in corners)
    assert centred / 1000 == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_every_patch_holds_a_labelled_voxel(share: float) -> None:
    label = np.full((24, 24, 24), 2, np.uint8)
    label[0, 0, 0], label[23, 23, 23] = 0, 1
    generator = rng()
    for _ in range(200):
        corner = draw_corner(loaded(label), 8, share, generator)
        assert all(0 <= at <= 16 for at in corner)
        assert (label_at(label, corner) < 2).any()


def test_surface_voxels_are_drawn_evenly() -> None:
    label = np.zeros((12, 12, 12), np.uint8)
    label[5, 6, 4:6], label[7, 4, 4:6] = 1, 1
    generator = rng()
    corners = [draw_corner(loaded(label), 8, 1.0, generator) for _ in range(2000)]
    counts = np.unique(np.array(corners), axis=0, return_counts=True)[1]
    assert len(counts) == 4
    assert counts.min() > 400


def test_volume_without_surface_gives_labelled_patches() -> None:
    label = np.zeros((10, 10, 10), np.uint8)
    assert draw_corner(loaded(label), 8, 1.0, rng()) is not None


def test_densest_corner_finds_the_window_with_most_surface() -> None:
    label = np.zeros((20, 16, 30), np.uint8)
    label[12:20, :8, 20:28] = 1
    assert densest_corner(label, (8, 8, 8)) == (12, 0, 20)


def test_image_and_label_move_together() -> None:
    """Each voxel carries its own number in both, so any move of one alone parts them."""
    numbers = np.arange(5**3, dtype=np.uint8).reshape(1, 5, 5, 5)
    augment = Augmentation(MOVES_ONLY)
    seen = set()
    for seed in range(60):
        image, label = augment(numbers.astype(np.float32), numbers, rng(seed))
        np.testing.assert_array_equal(image.numpy(), label.astype(np.float32))
        assert sorted(label.ravel()) == list(range(125))
        seen.add(label.tobytes())
    assert len(seen) > 25  # of the 48 symmetries of the cube


def test_neighbours_stay_neighbours_under_augmentation() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"))
    numbers = np.arange(5**3, dtype=np.uint8).reshape(1, 5, 5, 5)
    _, moved = Augmentation(MOVES_ONLY)(numbers.astype(np.float32), numbers, rng(3))
    coordinates = grid.reshape(3, -1)[:, moved[0]]
    for axis in (1, 2, 3):
        assert (np.abs(np.diff(coordinates, axis=axis)).sum(axis=0) == 1).all()


def test_grey_values_change_and_labels_do_not() -> None:
    config = AugmentConfig(flip=False, rotate90=False, intensity_probability=1.0)
    given, label = np.random.default_rng(0).normal(size=(1, 8, 8, 8)), label_volume(8)[None]
    image, kept = Augmentation(config)(given.astype(np.float32), label, rng())
    np.testing.assert_array_equal(kept, label)
    assert not np.allclose(image.numpy(), given)
    assert torch.isfinite(image).all()


def test_augmentation_can_be_switched_off() -> None:
    off = AugmentConfig(flip=False, rotate90=False, gamma=0, scale=0, shift=0, noise=0)
    given = np.random.default_rng(0).normal(size=(1, 4, 4, 4)).astype(np.float32)
    image, _ = Augmentation(off)(given, np.zeros((1, 4, 4, 4), np.uint8), rng())
    np.testing.assert_array_equal(image.numpy(), given)


def test_sample_is_a_pure_function_of_index_and_generator(tmp_path: Path) -> None:
    source = patches(tmp_path)
    first = source.get(5, rng(7))
    for index in (0, 11, 5, 23):
        source.get(index, rng(index))
    fresh = SurfacePatches(read_catalogue(tmp_path / "set", 8).volumes, small_config())
    for again in (source.get(5, rng(7)), fresh.get(5, rng(7))):
        for name in ("image", "label", "distance"):
            assert torch.equal(first[name], again[name])
    assert not torch.equal(first["image"], source.get(5, rng(8))["image"])


def test_global_random_state_does_not_matter(tmp_path: Path) -> None:
    source = patches(tmp_path)
    first = source.get(3, rng(1))["image"]
    np.random.seed(99)
    torch.manual_seed(99)
    assert torch.equal(first, source.get(3, rng(1))["image"])


def test_sample_has_the_promised_types(tmp_path: Path) -> None:
    source = patches(tmp_path)
    assert len(source) == 24
    sample = source.get(0, rng())
    assert {name: (value.dtype, tuple(value.shape)) for name, value in sample.items()} == {
        "image": (torch.float32, (1, 8, 8, 8)),
        "label": (torch.uint8, (1, 8, 8, 8)),
        "distance": (torch.float32, (1, 8, 8, 8)),
    }
    assert all(type(value) is torch.Tensor for value in sample.values())


@pytest.mark.parametrize("index", [-1, 24])
def test_index_outside_the_epoch_is_refused(tmp_path: Path, index: int) -> None:
    with pytest.raises(IndexError, match="of 24"):
        patches(tmp_path).get(index, rng())


def test_unlabelled_voxels_are_masked_unless_a_bug_is_rebuilt() -> None:
    label = np.array([0, 1, 2], np.uint8)
    assert as_trained(label, "masked").tolist() == [0, 1, 2]
    assert as_trained(label, "surface").tolist() == [0, 1, 1]
    assert as_trained(label, "background").tolist() == [0, 1, 0]


def test_distance_is_negative_throughout_a_sheet_two_voxels_thick() -> None:
    label = np.zeros((9, 9, 9), np.uint8)
    label[:, 4:6, :] = 1
    distance = signed_distance(label, clip=2.0)
    assert distance[0, :, 0].tolist() == [1, 1, 0.75, 0.25, -0.25, -0.25, 0.25, 0.75, 1]


@pytest.mark.parametrize("value", [0, 1, 2])
def test_distance_without_a_face_is_zero(value: int) -> None:
    assert not signed_distance(np.full((4, 4, 4), value, np.uint8), clip=5.0).any()
