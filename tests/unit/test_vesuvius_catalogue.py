"""Every way a data folder can be wrong is refused with its reason, before or when it is decoded."""

from __future__ import annotations

import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jobs.vesuvius.catalogue import read_catalogue
from jobs.vesuvius.task import VesuviusTask
from jobs.vesuvius.volumes import VolumeCache, load_volume
from tests.unit.vesuvius_folder import SIDE, label_volume, small_config, write, write_folder
from watchdog.errors import DataError

Defect = Callable[[Path], None]
IMAGE, LABEL, TABLE = "train_images/10.tif", "train_labels/10.tif", "train.csv"


def remove(name: str) -> Defect:
    def act(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


def text(name: str, content: str) -> Defect:
    def act(folder: Path) -> None:
        (folder / name).write_text(content)

    return act


def volume(name: str, shape: tuple[int, ...], dtype: type[np.generic], value: int = 0) -> Defect:
    return lambda folder: write(folder / name, np.full(shape, value, dtype))


def cut(name: str, keep: float) -> Defect:
    def act(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * keep)])

    return act


def not_text(folder: Path) -> None:
    (folder / TABLE).write_bytes(b"id\xff\xfe,")


def empty_set(folder: Path) -> None:
    for path in folder.glob("train_*/*.tif"):
        path.unlink()


def one_volume(folder: Path) -> None:
    for path in folder.glob("train_*/*.tif"):
        if path.stem != "10":
            path.unlink()


CUBE = (SIDE, SIDE, SIDE)
ROWS = "".join(f"{10 + index},1\n" for index in range(6))
HEADER_DEFECTS: list[tuple[Defect, str]] = [
    (lambda folder: shutil.rmtree(folder), "no data folder at"),
    (remove("train_images"), "no folder train_images in"),
    (remove("train_labels"), "no folder train_labels in"),
    (remove(TABLE), "no train.csv in"),
    (text(TABLE, ""), "lacks the column id, scroll_id"),
    (text(TABLE, "id,scroll\n" + ROWS), "lacks the column scroll_id"),
    (text(TABLE, "id,scroll_id\n10,1\n10,2\n"), "id 10 is there twice"),
    (text(TABLE, "id,scroll_id\n10\n"), "line 2 of .* has an empty id or scroll_id"),
    (not_text, "cannot read .*train.csv"),
    (text(TABLE, "id,scroll_id\n10,1\n"), "5 volumes .* have no row in train.csv: 11"),
    (remove(LABEL), "1 image files have no counterpart in .*train_labels: 10"),
    (remove(IMAGE), "1 label files have no counterpart in .*train_images: 10"),
    (volume("train_images/10.tiff", CUBE, np.uint8), "id 10 is there twice"),
    (volume(IMAGE, (SIDE, SIDE, 9), np.uint8), "is 20 x 20 x 9 but its label is 20 x 20 x 20"),
    (volume(IMAGE, (SIDE, SIDE), np.uint8), "is 2-D"),
    (volume(LABEL, (SIDE, SIDE), np.uint8), "is 2-D"),
    (volume(IMAGE, CUBE, np.uint16), "holds uint16"),
    (volume(LABEL, CUBE, np.float32), "holds float32"),
    (text(IMAGE, "not a tiff"), "cannot read .*train_images.10.tif"),
    (text(LABEL, ""), "cannot read .*train_labels.10.tif"),
    (cut(IMAGE, 0.99), "cannot read .*train_images.10.tif"),
    (cut(IMAGE, 0.6), "cannot read .*train_images.10.tif"),
    (cut(LABEL, 0.3), "cannot read .*train_labels.10.tif"),
    (cut(LABEL, 0.01), "cannot read .*train_labels.10.tif"),
    (empty_set, "no volume to train on"),
]
VOXEL_DEFECTS: list[tuple[Defect, str]] = [
    (volume(LABEL, CUBE, np.uint8, 3), r"hold \[3\] in 8000 voxels"),
    (volume(LABEL, CUBE, np.uint8, 2), "has no labelled voxel"),
    (volume(IMAGE, CUBE, np.uint8, 7), "all 8000 voxels of volume 10 are 7"),
]


@pytest.mark.parametrize(("defect", "message"), HEADER_DEFECTS)
def test_defect_in_the_layout_or_a_header_is_refused(
    tmp_path: Path, defect: Defect, message: str
) -> None:
    folder = write_folder(tmp_path / "set")
    defect(folder)
    with pytest.raises(DataError, match=message) as caught:
        read_catalogue(folder, patch_size=8)
    assert str(folder) in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(("defect", "message"), VOXEL_DEFECTS)
def test_defect_in_the_voxels_is_refused_by_prepare_and_by_loading(
    tmp_path: Path, defect: Defect, message: str
) -> None:
    folder = write_folder(tmp_path / "set")
    defect(folder)
    with pytest.raises(DataError, match=message):
        load_volume(read_catalogue(folder, patch_size=8).volumes[0])
    with pytest.raises(DataError, match=message):
        VesuviusTask.prepare(small_config(), folder, tmp_path)


def test_volume_smaller_than_the_patch_is_refused_with_the_setting(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    with pytest.raises(DataError, match=r"20 x 20 x 20 voxels.*task\.patch_size=22"):
        read_catalogue(folder, patch_size=22)


def test_nothing_left_to_train_on_after_the_split_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    one_volume(folder)
    with pytest.raises(DataError, match=r"1 volumes leave 0 to train on"):
        VesuviusTask.prepare(small_config(), folder, tmp_path)


def test_file_damaged_after_its_header_was_read_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", compression="lzw")
    volume = read_catalogue(folder, patch_size=8).volumes[0]
    for keep in (0.95, 0.5, 0.05):
        cut(IMAGE, keep)(folder)
        with pytest.raises(DataError, match=r"cannot read .*10\.tif"):
            load_volume(volume)


def test_rows_without_files_are_counted_and_not_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_folder(tmp_path / "set")
    with (folder / TABLE).open("a") as table:
        table.write("98,1\n99,1\n")
    with caplog.at_level(logging.WARNING):
        sentence = VesuviusTask.prepare(small_config(), folder, tmp_path)
    assert "6 volumes" in sentence
    assert "2 rows of train.csv have no files" in sentence
    assert "2 rows" in caplog.text


@pytest.mark.parametrize("compression", ["lzw", "zlib", "none"])
def test_every_compression_reads_back_the_same_voxels(tmp_path: Path, compression: str) -> None:
    folder = write_folder(tmp_path / "set", compression=compression)
    loaded = load_volume(read_catalogue(folder, patch_size=8).volumes[0])
    np.testing.assert_array_equal(loaded.label, label_volume())
    assert loaded.mean == pytest.approx(loaded.image.mean())
    assert loaded.std == pytest.approx(loaded.image.std())


def test_real_sample_is_accepted(shared: Path | None, tmp_path: Path) -> None:
    if shared is None:
        pytest.skip("the real sample is not beside this checkout")
    sentence = VesuviusTask.prepare(small_config(), shared / "data" / "vesuvius", tmp_path)
    assert "6 volumes of 96 x 96 x 96 voxels; 4 train, 2 held out" in sentence


def test_cache_keeps_the_most_recent_volumes_within_its_bytes(tmp_path: Path) -> None:
    volumes = read_catalogue(write_folder(tmp_path / "set"), patch_size=8).volumes
    cache = VolumeCache(limit_bytes=2 * 2 * 22**3)
    first = cache.get(volumes[0])
    cache.get(volumes[1])
    assert cache.get(volumes[0]) is first
    cache.get(volumes[2])
    assert cache.used_bytes <= 2 * 2 * 22**3
    assert cache.get(volumes[0]) is first


def test_cache_without_room_still_serves(tmp_path: Path) -> None:
    volumes = read_catalogue(write_folder(tmp_path / "set"), patch_size=8).volumes
    cache = VolumeCache(limit_bytes=0)
    assert cache.get(volumes[0]).volume_id == "10"
    assert cache.get(volumes[1]).volume_id == "11"
    assert cache.used_bytes == 2 * 22**3
