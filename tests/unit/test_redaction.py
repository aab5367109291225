"""Secrets do not survive in text: by the environment, by what stands before them, by their form."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.failures import describe
from runner.report import write_report
from watchdog import redaction
from watchdog.config import WatchdogConfig
from watchdog.records import (
    AttemptEnded,
    AttemptStarted,
    CheckpointFailed,
    Outcome,
    RunEnded,
    RunStarted,
    Storage,
)
from watchdog.redaction import REDACTED, RedactingFormatter, Redactor, is_secret_name, redact
from watchdog.service import Service

SECRETS = (
    "planted-env-value",
    "planted:url",
    "plantedbearer1",
    "planted_named_1",
    "hf_planted0123456789",
)

HIDDEN = [
    ("with planted-env-value inside", f"with {REDACTED} inside"),
    ("s3://AKID:planted/x+y@bucket/p?a=1", f"s3://{REDACTED}@bucket/p?a=1"),
    ("https://user:p@ss@host/", f"https://{REDACTED}@host/"),
    ("git+https://planted@github.com/x", f"git+https://{REDACTED}@github.com/x"),
    ("s3://b/x?secret_key=planted&region=eu", f"s3://b/x?secret_key={REDACTED}&region=eu"),
    ("Authorization: Bearer planted123", f"Authorization: {REDACTED}"),
    ("sent Bearer planted.123-x", f"sent Bearer {REDACTED}"),
    ("{'password': 'pl anted', 'user': 'bob'}", f"{{'password': {REDACTED}, 'user': 'bob'}}"),
    ('"api_key": "a\\"b planted"', f'"api_key": {REDACTED}'),
    ("run --hf-token=planted --lr=3", f"run --hf-token={REDACTED} --lr=3"),
    ("AWS_SECRET_ACCESS_KEY=planted/+1", f"AWS_SECRET_ACCESS_KEY={REDACTED}"),
    ("SET task.password=hunter2: unknown", f"SET task.password={REDACTED} unknown"),
    ("myApiKey: planted", f"myApiKey: {REDACTED}"),
    ("found AKIAABCDEFGHIJKLMNOP here", f"found {REDACTED} here"),
    ("ghp_abcdefghijklmnopqrstuvwx", REDACTED),
    ("-----BEGIN RSA PRIVATE KEY-----\nplanted\n-----END RSA PRIVATE KEY-----.", f"{REDACTED}."),
    ("-----BEGIN PRIVATE KEY-----\nplanted, cut off", REDACTED),
]


@pytest.mark.parametrize(("text", "expected"), HIDDEN)
def test_a_secret_is_taken_out_and_the_rest_stays(text: str, expected: str) -> None:
    assert Redactor(["planted-env-value"])(text) == expected


@pytest.mark.parametrize("text", [text for text, _ in HIDDEN])
def test_redacting_twice_is_redacting_once(text: str) -> None:
    redactor = Redactor(["planted-env-value"])
    assert redactor(redactor(text)) == redactor(text)


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=5 tokenizer=bpe pad_token_id=3 step_key=4",
        "no report from ranks [3, 5] for 312 s; limit is detectors.stall.timeout_s=300",
        "metrics on 127.0.0.1:9465/metrics, file:///data/x and s3://bucket/runs",
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (32x3 and 4x64)",
        "the next token is predicted; Basic training; bearer of news",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor()(text) == text


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "password", "DB_PASSWD", "api-key", "AWS_SECRET_ACCESS_KEY"]
)
def test_names_say_that_a_value_is_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["max_tokens", "tokenizer", "key", "RAY_AUTH_TOKEN_PATH", "PATH"])
def test_other_names_do_not(name: str) -> None:
    assert not is_secret_name(name)


@given(st.text(max_size=200))
def test_any_text_can_be_redacted(text: str) -> None:
    cleaned = Redactor(["secret-value"])(f"{text} secret-value {text}")
    assert "secret-value" not in cleaned


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> str:
    """Plant a secret variable; return an error message that holds every kind of secret."""
    monkeypatch.setenv("PLANTED_API_TOKEN", SECRETS[0])
    monkeypatch.setattr(redaction, "_redactor", redaction._redactor.__wrapped__)
    env, url, bearer, named, form = SECRETS
    return f"{env} https://{url}@host Bearer {bearer} password={named} {form}"


def test_an_exception_of_the_job_is_redacted_with_its_causes(planted: str) -> None:
    try:
        try:
            raise KeyError(planted)
        except KeyError as error:
            raise RuntimeError(planted) from error
    except RuntimeError as error:
        said = describe(error, 3).error
    assert "RuntimeError" in said
    assert "KeyError" in said
    assert [secret for secret in SECRETS if secret in said] == []


def test_a_log_line_is_redacted_with_its_traceback(planted: str) -> None:
    try:
        raise ValueError(planted)
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "sent %s", (planted,), info)
    line = RedactingFormatter().format(record)
    assert "ValueError" in line
    assert [secret for secret in SECRETS if secret in line] == []


def test_nothing_secret_is_in_any_file_that_the_watchdog_writes(
    planted: str, tmp_path: Path
) -> None:
    service = Service(tmp_path, WatchdogConfig())
    service.exchange(
        [
            RunStarted(t_s=0.0, run_id="r", job="j", max_steps=9),
            AttemptStarted(t_s=1.0, attempt=0, world_size=1, memory=planted),
            CheckpointFailed(
                t_s=2.0, attempt=0, step=1, storage=Storage.DURABLE, operation="save", error=planted
            ),
        ]
    )
    verdict = service.attempt_ended(
        AttemptEnded(t_s=3.0, attempt=0, outcome=Outcome.EXCEPTION, step=1, error=planted, rank=0)
    )
    service.exchange([RunEnded(t_s=4.0, attempt=0, step=1, state="failed", reason=planted)])
    service.close()
    write_report(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"ledger.jsonl", "trace.jsonl", "report.html"} <= {path.name for path in files}
    texts = [redact(verdict.reason), verdict.reason, *(path.read_text() for path in files)]
    assert REDACTED in verdict.reason
    assert [secret for secret in SECRETS for text in texts if secret in text] == []
