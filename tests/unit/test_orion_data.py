"""What a folder of cores can be wrong in, and what the samples are made of."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from jobs.orion.catalogue import find_cores, read_core
from jobs.orion.config import Config, GeneratedConfig
from jobs.orion.data import Crops, middle
from jobs.orion.generate import ensure_generated
from jobs.orion.task import OrionTask, core_census
from watchdog.errors import DataError

GENERATED = GeneratedConfig(cores=5, side=64, cells=200)
HE, ORION = "core_patches_npy/core_000_HE.npy", "core_patches_npy/core_000_ORION.npy"
Defect = Callable[[Path], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_generated(GENERATED, 4, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def folder(tmp_path: Path, made: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "set"))


def config(**settings: object) -> Config:
    return Config.model_validate({"channels": 4, "crop": 32, **settings})


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def write(name: str, array: npt.NDArray[Any]) -> Defect:
    return lambda folder: np.save(folder / name, array)


def cut(name: str) -> Defect:
    def act(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:5000])

    return act


def ramp(shape: tuple[int, ...], top: float = 1.0) -> npt.NDArray[np.float32]:
    return np.linspace(0, top, int(np.prod(shape)), dtype=np.float32).reshape(shape)


BROKEN = ramp((64, 64, 4))
BROKEN[3, 3, 1] = np.nan
DEFECTS: list[tuple[Defect, str]] = [
    (cut(HE), "core_000"),
    (write(ORION, ramp((64, 64, 3))), r"has shape \(64, 64, 3\), task.channels=4 are expected"),
    (write(HE, ramp((64, 64))), r"has shape \(64, 64\), an H&E image has 3"),
    (write(HE, ramp((32, 64, 3))), r"is \(32, 64\) in H&E but \(64, 64\) in fluorescence"),
    (write(ORION, ramp((64, 64, 4), top=255)), "floats from 0 to 255, which are not in"),
    (write(ORION, BROKEN), "floats from nan to nan, which are not in"),
    (write(ORION, ramp((64, 64, 4)).astype(np.int32)), "holds int32; uint8 or float32"),
    (write(ORION, np.zeros((64, 64, 4), np.uint8)), "is 0; it is probably an empty export"),
]


@pytest.mark.parametrize(("defect", "message"), DEFECTS)
def test_a_defective_core_is_counted_named_and_passed_over(
    folder: Path, defect: Defect, message: str
) -> None:
    defect(folder)
    cores = find_cores(folder)
    assert [bad.name for bad in core_census(cores, config()).unreadable] == ["core_000"]
    if message != "core_000":
        with pytest.raises(DataError, match=message):
            read_core(cores[0], 4)
    stand_in = Crops(cores, config()).get(0, rng())
    next_one = Crops(cores, config()).get(config().crops_per_core, rng())
    np.testing.assert_array_equal(stand_in["markers"], next_one["markers"])


def test_a_core_without_its_counterpart_is_refused(folder: Path) -> None:
    (folder / ORION).unlink()
    with pytest.raises(DataError, match=r"1 cores in .* have no file \.\._ORION\.npy: core_000"):
        find_cores(folder)


def test_a_folder_without_cores_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(DataError, match=r"no core in .* it holds readme\.txt"):
        find_cores(tmp_path)
    with pytest.raises(DataError, match="no data folder at"):
        find_cores(tmp_path / "absent")


def test_a_core_that_is_there_twice_is_refused(folder: Path) -> None:
    (folder / "copy").mkdir()
    shutil.copy(folder / HE, folder / "copy")
    with pytest.raises(DataError, match="core core_000 is there twice"):
        find_cores(folder)


def test_too_many_unreadable_cores_are_refused_with_the_setting(folder: Path) -> None:
    for index in range(2):
        cut(f"core_patches_npy/core_00{index}_HE.npy")(folder)
    with pytest.raises(DataError, match=r"2 of 5 cores cannot be read .*task\.max_unreadable"):
        OrionTask.prepare(config(), folder, folder)


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_bytes_and_floats_channels_last_and_first_read_alike(
    folder: Path, is_first: bool, dtype: type[np.generic]
) -> None:
    whole = read_core(find_cores(folder)[0], 4)
    for name in (HE, ORION):
        array = np.load(folder / name)
        given = array if dtype is np.uint8 else (array / 255).astype(np.float32)
        np.save(folder / name, np.moveaxis(given, -1, 0) if is_first else given)
    again = read_core(find_cores(folder)[0], 4)
    np.testing.assert_allclose(again.stain, whole.stain, atol=1e-6)
    np.testing.assert_allclose(again.markers, whole.markers, atol=1e-6)


def test_crops_of_both_images_are_in_register(made: Path) -> None:
    """The same image on both sides, as it were: what is cut and moved must come out the same."""
    cores = find_cores(made)
    still = {"intensity_probability": 0.0}
    source = Crops(cores, config(channels=3, augment=still))
    source._reader._read = lambda core: _twins(read_core(core, 4))
    for index in range(8):
        sample = source.get(index, rng(index))
        np.testing.assert_array_equal(sample["stain"], sample["markers"])


def _twins(core: Any) -> Any:
    return type(core)(core.name, core.stain, core.stain)


def test_the_variant_misaligned_moves_the_input_alone(made: Path) -> None:
    still = {"intensity_probability": 0.0, "moves_target": False}
    source = Crops(find_cores(made), config(channels=3, augment=still))
    source._reader._read = lambda core: _twins(read_core(core, 4))
    samples = [source.get(index, rng(index)) for index in range(24)]
    apart = [not np.array_equal(s["stain"], s["markers"]) for s in samples]
    assert sum(apart) >= 16


def test_the_middle_is_bounded_and_can_be_halved() -> None:
    image = np.zeros((3, 70, 250), np.float32)
    assert middle(image, 224, 16).shape == (3, 64, 224)


def test_generated_tissue_absorbs_where_nuclei_shine(made: Path) -> None:
    core = read_core(find_cores(made)[0], 4)
    nuclear = core.markers[0] if core.markers[0].std() > 0.02 else core.markers[3]
    red = core.stain[0]
    assert np.corrcoef(nuclear.ravel(), red.ravel())[0, 1] < -0.2
    assert 0.3 < float(core.stain.mean()) < 0.95


def test_equal_seeds_give_equal_cores(tmp_path: Path, made: Path) -> None:
    again = ensure_generated(GENERATED, 4, tmp_path)
    files = sorted(path.relative_to(made) for path in made.rglob("*.npy"))
    assert len(files) == 10
    assert all((made / name).read_bytes() == (again / name).read_bytes() for name in files)
