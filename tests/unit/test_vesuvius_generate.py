"""Generated volumes are deterministic, in the real layout, and written whole or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import distance_transform_edt

from jobs.vesuvius.catalogue import read_catalogue
from jobs.vesuvius.config import GeneratedConfig
from jobs.vesuvius.generate import ensure_generated, generated_folder
from jobs.vesuvius.scroll import scroll_volume
from jobs.vesuvius.task import VesuviusTask
from tests.unit.vesuvius_folder import small_config
from watchdog.errors import DataError

SMALL = GeneratedConfig(volumes=4, side=24)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_equal_parameters_give_equal_bytes(tmp_path: Path) -> None:
    one = contents(ensure_generated(SMALL, tmp_path / "a"))
    other = contents(ensure_generated(SMALL, tmp_path / "b"))
    assert one == other
    assert len(one) == 4 + 4 + 1 + 2


def test_another_seed_gives_another_folder_and_other_voxels(tmp_path: Path) -> None:
    one = ensure_generated(SMALL, tmp_path)
    other = ensure_generated(GeneratedConfig(volumes=4, side=24, seed=1), tmp_path)
    assert one != other
    assert contents(one) != contents(other)


def test_layout_is_the_real_sets(tmp_path: Path) -> None:
    folder = ensure_generated(SMALL, tmp_path)
    catalogue = read_catalogue(folder, patch_size=16)
    assert len(catalogue.volumes) == 4
    assert not catalogue.without_files
    assert len({volume.shape for volume in catalogue.volumes}) > 1
    assert len({volume.scroll_id for volume in catalogue.volumes}) == 2
    with tifffile.TiffFile(catalogue.volumes[0].image) as tif:
        assert tif.pages[0].compression == tifffile.COMPRESSION.LZW
    assert (folder / "test.csv").read_text().splitlines()[0] == "id,scroll_id"
    assert len(list((folder / "test_images").iterdir())) == 1


def test_present_folder_is_reused(tmp_path: Path) -> None:
    folder = ensure_generated(SMALL, tmp_path)
    (folder / "mark").touch()
    assert ensure_generated(SMALL, tmp_path) == folder
    assert (folder / "mark").exists()


def test_processes_that_race_end_with_one_whole_folder(tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(ensure_generated(SMALL, tmp_path)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {generated_folder(SMALL, tmp_path)}
    assert [path.name for path in tmp_path.iterdir()] == [found[0].name]
    assert len(read_catalogue(found[0], patch_size=16).volumes) == 4


def test_folder_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write generated samples"):
        ensure_generated(SMALL, tmp_path / "file")


def test_prepare_says_plainly_that_the_volumes_are_generated(tmp_path: Path) -> None:
    config = small_config()
    sentence = VesuviusTask.prepare(config, None, tmp_path)
    assert sentence.startswith("no data folder given: training on GENERATED scroll CT volumes (6 ")
    assert str(generated_folder(config.generated, tmp_path)) in sentence
    assert "4 train, 2 held out (whole scrolls)" in sentence


def test_shares_of_the_labels_are_the_wanted_ones() -> None:
    image, label = scroll_volume((64, 64, 64), GeneratedConfig(), np.random.default_rng(0))
    shares = [float((label == value).mean()) for value in (0, 1, 2)]
    assert shares[2] == pytest.approx(0.58, abs=0.01)
    assert shares[1] / (shares[0] + shares[1]) == pytest.approx(2 / 14, abs=0.05)
    assert image.dtype == label.dtype == np.uint8


def test_papyrus_is_bright_and_surface_is_its_face() -> None:
    config = GeneratedConfig(unlabelled_share=0.0, noise=0.0, blur=0.0, grading=0.0)
    image, label = scroll_volume((32, 48, 48), config, np.random.default_rng(0))
    assert set(np.unique(image)) == {60, 150}
    assert (image[label == 1] == 150).all()
    to_air = distance_transform_edt(image == 150)
    assert to_air[label == 1].max() < 4.5 < to_air.max() + 2.5


def test_inner_face_is_brighter_than_the_outer() -> None:
    config = GeneratedConfig(unlabelled_share=0.0, noise=0.0, blur=0.0)
    image, label = scroll_volume((32, 48, 48), config, np.random.default_rng(0))
    outer = (label == 0) & (image > config.air)
    assert image[label == 1].mean() > config.papyrus > image[outer].mean()


def test_windings_are_a_pitch_apart() -> None:
    config = GeneratedConfig(unlabelled_share=0.0, amplitude=0.0)
    _, label = scroll_volume((16, 96, 96), config, np.random.default_rng(0))
    assert (label == 1).mean() == pytest.approx(2 / 14, rel=0.1)
