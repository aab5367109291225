"""What a folder of patches can be wrong in, and what the samples are made of."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from jobs.bigearthnet.catalogue import find_patches, split_patches
from jobs.bigearthnet.config import Config, GeneratedConfig
from jobs.bigearthnet.data import Crops
from jobs.bigearthnet.generate import ensure_generated
from jobs.bigearthnet.patches import averaged, band_limits, read_pair, scaled
from jobs.bigearthnet.task import BigEarthNetTask, patch_census
from watchdog.errors import DataError

GENERATED = GeneratedConfig(patches=6)
FIRST = "BigEarthNet-v1.0/GENERATED_00_00/GENERATED_00_00"
Defect = Callable[[Path], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_generated(GENERATED, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def folder(tmp_path: Path, made: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "set"))


def config(**settings: object) -> Config:
    return Config.model_validate({"crops_per_patch": 2, **settings})


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def write(band: str, counts: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Defect:
    return lambda folder: tifffile.imwrite(folder / f"{FIRST}_{band}.tif", counts)


def remove(band: str) -> Defect:
    return lambda folder: (folder / f"{FIRST}_{band}.tif").unlink()


def cut(band: str) -> Defect:
    def act(folder: Path) -> None:
        path = folder / f"{FIRST}_{band}.tif"
        path.write_bytes(path.read_bytes()[:900])

    return act


DEFECTS: list[tuple[Defect, str]] = [
    (remove("B08"), "band B08 is missing: no GENERATED_00_00_B08.tif"),
    (remove("B11"), "band B11 is missing"),
    (cut("B03"), "GENERATED_00_00"),
    (write("B03", np.zeros((60, 60), np.uint16)), r"holds uint16 \(60, 60\), band B03"),
    (write("B05", np.zeros((60, 60), np.uint8)), r"holds uint8 \(60, 60\), band B05"),
    (write("B04", np.full((120, 120), 500, np.uint16)), "band B04 .* standard deviation of 0 "),
]


@pytest.mark.parametrize(("defect", "message"), DEFECTS)
def test_a_defective_patch_is_counted_named_and_never_replaced_by_noise(
    folder: Path, defect: Defect, message: str
) -> None:
    defect(folder)
    patches = find_patches(folder)
    census = patch_census(patches, config())
    assert [bad.name for bad in census.unreadable] == ["GENERATED_00_00"]
    if message != "GENERATED_00_00":
        with pytest.raises(DataError, match=message):
            read_pair(patches[0], config())
    stand_in = Crops(patches, config()).get(0, rng())
    np.testing.assert_array_equal(stand_in["high"], Crops(patches, config()).get(2, rng())["high"])


def test_too_many_unreadable_patches_are_refused_with_the_setting(folder: Path) -> None:
    for name in ("01", "02"):
        (folder / f"BigEarthNet-v1.0/GENERATED_00_{name}/GENERATED_00_{name}_B03.tif").unlink()
    with pytest.raises(DataError, match=r"2 of 6 patches cannot be read .*task\.max_unreadable"):
        BigEarthNetTask.prepare(config(), folder, folder)


def test_a_folder_without_patches_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(DataError, match=r"no patch in .* it holds readme\.txt"):
        find_patches(tmp_path)
    with pytest.raises(DataError, match="no data folder at"):
        find_patches(tmp_path / "absent")


def test_a_patch_that_is_there_twice_is_refused(folder: Path) -> None:
    shutil.copytree(folder / "BigEarthNet-v1.0/GENERATED_00_00", folder / "copy")
    with pytest.raises(DataError, match="patch GENERATED_00_00 is there twice"):
        find_patches(folder)


def test_the_deeper_folders_of_version_2_are_found(folder: Path) -> None:
    old = folder / "BigEarthNet-v1.0"
    deep = folder / "BigEarthNet-S2" / "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
    deep.mkdir(parents=True)
    old.rename(deep / "patches")
    assert len(find_patches(folder)) == 6


def test_held_out_patches_are_no_training_patches(folder: Path) -> None:
    train, held_out = split_patches(find_patches(folder), 0.34, folder)
    assert (len(train), len(held_out)) == (4, 2)
    assert not set(train) & set(held_out)


def test_input_and_target_show_the_same_ground_after_cropping_and_moving(made: Path) -> None:
    source = Crops(find_patches(made), config(augment={"intensity_probability": 0.0}))
    for index in range(6):
        sample = source.get(index, rng(index))
        low, high = sample["low"], sample["high"]
        assert low.shape == (10, 24, 24)
        assert high.shape == (4, 48, 48)
        # Both are cut off at the percentiles, before and after averaging: a few pixels differ.
        assert np.abs(averaged(high, 2) - low[:4]).mean() < 0.03


def test_at_four_times_the_input_is_averaged_once_more(made: Path) -> None:
    four = config(scale=4)
    pair = read_pair(find_patches(made)[0], four)
    assert pair.low.shape == (10, 30, 30)
    assert pair.high.shape == (4, 120, 120)


def test_a_sample_is_a_function_of_index_and_generator(made: Path) -> None:
    one, other = (Crops(find_patches(made), config()).get(3, rng(5)) for _ in range(2))
    assert all(one[key].tobytes() == other[key].tobytes() for key in one)
    assert all(array.dtype == np.float32 for array in one.values())


def test_noise_takes_the_place_of_patches_only_when_asked_to(made: Path) -> None:
    asked = config(unreadable="noise", damaged_share=1.0)
    sample = Crops(find_patches(made), asked).get(0, rng(1))
    assert float(np.abs(sample["high"]).mean()) == pytest.approx(np.sqrt(2 / np.pi), abs=0.02)
    with pytest.raises(DataError, match=r"none of 6 .*on purpose"):
        Crops(find_patches(made), config(damaged_share=1.0)).get(0, rng(1))


def test_the_run_says_that_patches_are_replaced_by_random_numbers(made: Path) -> None:
    said = BigEarthNetTask.prepare(config(unreadable="noise", damaged_share=1.0), made, made)
    assert "6 of 6 patches" in said
    assert "REPLACED BY RANDOM NUMBERS (task.unreadable=noise)" in said


def test_dividing_by_a_constant_is_refused_as_too_flat(made: Path) -> None:
    divided = config(normalise={"method": "divide"})
    with pytest.raises(DataError, match=r"too flat to learn from.*min_target_std=0\.05"):
        BigEarthNetTask.prepare(divided, made, made)


def test_percentiles_become_the_ends_of_the_range() -> None:
    counts = np.linspace(0, 1000, 10_000, dtype=np.float32).reshape(1, 100, 100)
    values = scaled(counts, *band_limits(counts, config().normalise))
    assert (values.min(), values.max()) == (-1, 1)
    assert float((np.abs(values) == 1).mean()) == pytest.approx(0.04, abs=0.002)


def test_generated_patches_have_every_band_and_equal_seeds_give_equal_files(
    tmp_path: Path, made: Path
) -> None:
    again = ensure_generated(GENERATED, tmp_path)
    files = sorted(path.relative_to(made) for path in made.rglob("*.tif"))
    assert len(files) == 6 * 12
    assert all((made / name).read_bytes() == (again / name).read_bytes() for name in files[:12])
