"""Predictions are masks in the competition's layout, made by the newest trusted checkpoint."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

from jobs.vesuvius.prediction import SUBMISSION, write_predictions
from runner.checkpoints import CheckpointStore
from runner.job import Job
from runner.predict import best_step, predict
from runner.runs import RunFolder
from runner.spec_reader import read_spec
from runner.state import StateInfo, TrainState
from runner.task import TaskContext
from tests.unit.vesuvius_folder import image_volume, label_volume, small_config, write, write_folder
from watchdog.errors import BadInput, CheckpointError, DataError


class Grey(nn.Module):
    """Answers the grey value: surface is brighter than the mean of the volume."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image - 1.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = write_folder(tmp_path / "set")
    write(folder / "test_images/77.tif", image_volume(label_volume(), 0))
    return folder


def test_a_mask_has_the_name_size_and_type_of_its_volume(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    device = torch.device("cpu")
    [path] = write_predictions(Grey(), data / "test_images", out, small_config(), device)
    assert path == out / "77.tif"
    mask = tifffile.imread(path)
    assert mask.dtype == np.uint8
    assert mask.shape == label_volume().shape
    truth = label_volume() == 1
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.95
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].compression.name == "LZW"
    with zipfile.ZipFile(out / SUBMISSION) as archive:
        assert archive.namelist() == ["77.tif"]


def test_a_folder_without_volumes_or_with_a_small_one_is_refused(tmp_path: Path) -> None:
    device = torch.device("cpu")
    with pytest.raises(DataError, match=r"no \.tif file"):
        write_predictions(Grey(), tmp_path, tmp_path / "out", small_config(), device)
    write(tmp_path / "1.tif", np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(DataError, match="smaller than a patch"):
        write_predictions(Grey(), tmp_path, tmp_path / "out", small_config(), device)


def test_the_newest_trusted_checkpoint_of_a_run_predicts(data: Path, tmp_path: Path) -> None:
    resolved = read_spec("vesuvius")
    config = small_config()
    job = Job(resolved.spec, config, str(data), str(tmp_path / "cache"))
    run = RunFolder(tmp_path / "run")
    store = CheckpointStore(str(run.checkpoints))
    with pytest.raises(CheckpointError, match="no checkpoint to predict with"):
        predict(run, job, tmp_path / "out")
    context = TaskContext(resolved.spec.train, data, tmp_path, torch.device("cpu"))
    task = job.task_class()(config, context)
    model = task.build_model()
    state = TrainState(model, task.build_optimizer(model))
    for step in (10, 20):
        store.save(state.tree(), StateInfo(step, 0, 0, 1, 0), {})
    assert best_step(store) == 20
    store.set_trust(10, "trusted")
    said = predict(run, job, tmp_path / "out")
    assert said.startswith("step 10 of run run: 1 masks of ")
    assert (tmp_path / "out" / "77.tif").is_file()


def test_a_job_without_predictions_says_so(tmp_path: Path) -> None:
    resolved = read_spec("template")
    job = Job(resolved.spec, resolved.task_config, None, str(tmp_path))
    with pytest.raises(BadInput, match="job template writes no predictions"):
        predict(RunFolder(tmp_path), job, tmp_path / "out")
