"""A secret does not get into a job file: it would be kept in job.yaml and shown in the report."""

from __future__ import annotations

import pytest

from runner.overrides import Layer, read_assignments
from runner.secret_settings import refuse_secrets
from runner.spec_reader import read_spec
from watchdog.errors import SpecError


@pytest.mark.parametrize(
    "assignment",
    [
        "task.hub_token=abcdef0123456789",
        "task.password=hunter",
        "task.db.client_secret=x",
        "task.api_key=0123456789abcdef",
        "checkpoints.path=s3://AKID:sEcReT@bucket/runs",
        'checkpoints.path="s3://bucket/runs?secret_key=sEcReT12"',
        "task.source=hf_abcdefghijklmnop0123",
        'task.sources=["fine", "ftp://bob:sEcReT@host/x"]',
    ],
)
def test_a_secret_setting_is_refused_without_being_said(assignment: str) -> None:
    name = assignment.partition("=")[0]
    with pytest.raises(SpecError, match="environment variable") as refused:
        refuse_secrets([Layer("job.yaml", {}), *read_assignments(assignment)])
    message = str(refused.value)
    assert message.startswith(f"SET {name}: {name} holds a secret")
    for word in ("sEcReT", "hunter", "abcdef", "0123"):
        assert word not in message


@pytest.mark.parametrize(
    "assignment",
    [
        'task.mask_token="[MASK]"',
        "task.eos_token=end",
        "task.max_tokens=4096",
        "task.sort_key=name",
        "task.tokenizer=bpe32k",
        "checkpoints.path=s3://bucket/runs?region=eu-west-1",
        'description="learns to predict the next token: a small model"',
        "task.password=null",
    ],
)
def test_settings_that_only_sound_like_it_pass(assignment: str) -> None:
    refuse_secrets([Layer("job.yaml", {}), *read_assignments(assignment)])


def test_the_value_of_a_secret_variable_is_refused_under_any_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "plainword")
    with pytest.raises(SpecError, match="holds a secret"):
        refuse_secrets(read_assignments("task.label=plainword"))


def test_a_submit_is_refused_before_the_setting_is_looked_up() -> None:
    with pytest.raises(SpecError, match="holds a secret"):
        read_spec("template", overrides=["task.password=hunter2"])
