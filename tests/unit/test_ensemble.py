"""The mean output of the last checkpoints is one more model, and is validated at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from runner.checkpoints import CheckpointStore
from runner.ensemble import Ensemble
from runner.spec import CheckpointConfig, RunSpec
from tests.e2e.gloo_pair import ScriptedChannel, spec
from tests.unit.test_session import run


def test_the_output_is_the_mean_of_the_members_and_the_model_stays_as_it_is() -> None:
    model = nn.Linear(2, 1)
    other = {name: value + 2.0 for name, value in model.state_dict().items()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.tensor([[1.0, 1.0]])
    with torch.no_grad():
        mean = Ensemble.of(model, [other])(x)
        torch.testing.assert_close(mean, model(x) + 3.0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def kept(ensemble: int) -> RunSpec:
    whole = spec(30)
    train = whole.train.model_copy(update={"ensemble_checkpoints": ensemble})
    checkpoints = CheckpointConfig(every_steps=10, memory_every_steps=8, keep=3)
    return whole.model_copy(update={"train": train, "checkpoints": checkpoints})


@pytest.mark.parametrize("ensemble", [0, 3])
def test_the_end_of_a_run_scores_the_ensemble_only_when_asked_to(
    tmp_path: Path, ensemble: int
) -> None:
    run(tmp_path, ScriptedChannel(None), run_spec=kept(ensemble))
    metrics = CheckpointStore(str(tmp_path / "checkpoints")).manifest(30)["metrics"]
    assert ("ensemble_accuracy" in metrics) is bool(ensemble)
    if ensemble:
        assert metrics["ensemble_val_loss"] != metrics["val_loss"]


def test_an_ensemble_of_more_checkpoints_than_are_kept_is_refused() -> None:
    values = {**spec(30).model_dump(), "checkpoints": {"keep": 2}}
    values["train"] = {**values["train"], "ensemble_checkpoints": 4}
    with pytest.raises(ValidationError, match=r"ensemble_checkpoints=4 .* checkpoints\.keep=2"):
        RunSpec.model_validate(values)
