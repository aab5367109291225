"""Takes secrets out of text before it is written or shown: the one place that knows their look.

Three things are secret: the values of environment variables whose names say so, what stands behind
such a name in a text (`token=...`, `"password": "..."`, a URL's `user:password@`), and what has the
form of a well-known credential. A name says so by how it ends, so that `tokenizer` and `max_tokens`
stay.

Runs in: anywhere (pure, but for `redact`, which knows this process's environment).
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from functools import cache
from types import TracebackType
from typing import Any, TypeVar

from watchdog.records import Record

REDACTED = "[redacted]"

RecordT = TypeVar("RecordT", bound=Record)

#: Chosen: shorter values ("1", "true") stand in texts that have nothing to do with the variable.
_SHORTEST = 6
#: Fields of records that hold free text; the others are numbers, enums and names of files.
_FREE_TEXT = ("error", "reason", "path", "memory")

_NAMES = (
    r"token|passwo?r?d|passwd|passphrase|credentials?|secret|authorization|connection[_-]?string"
    r"|(?:api|access|secret|private|account|encryption|signing|ssh|storage)[_-]?key(?:[_-]?id)?"
)
_SECRET_NAME = re.compile(rf"[\w.-]*?(?:{_NAMES})", re.IGNORECASE)

_KEY_BLOCK = r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----"
_QUOTED = r"""'[^'\n]{0,4096}'|"(?:[^"\\\n]|\\.){0,4096}\""""
_BARE = r"""(?!\[redacted\])(?:(?:Bearer|Basic|Token)\s+)?(?:\[redacted\]|[^\s,;&'"\])}]+)"""

#: What is a credential wherever it stands. Each pattern keeps its group `keep`; none of them can
#: take longer than a multiple of the text.
_CREDENTIALS: tuple[re.Pattern[str], ...] = (
    re.compile(rf"(?P<keep>){_KEY_BLOCK}.*?(?:-----END [A-Z ]{{0,40}}PRIVATE KEY-----|\Z)", re.S),
    # scheme://user:password@host, and scheme://token@host
    re.compile(
        r"(?P<keep>\b[a-z][a-z0-9+.-]{1,20}://)"
        r"(?:[^\s/'\"<>]{1,512}|[^\s/:'\"<>]{1,256}:[^\s'\"<>]{1,512})(?=@)",
        re.I,
    ),
    re.compile(r"(?P<keep>\bBearer\s+)(?=\S{0,64}\d)[\w.~+/=-]{8,}", re.I),
    # What can be told by its form: AWS, GitHub, GitLab, Hugging Face, Slack, OpenAI, web tokens.
    re.compile(
        r"(?P<keep>)\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}"
        r"|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{16,}|xox[abprs]-[\w-]{10,}|sk-[\w-]{20,}"
        r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})"
    ),
)

#: name=value, name: value, 'name': 'value', --name=value
_NAMED = re.compile(
    rf"(?P<keep>\b[\w-]{{0,60}}?(?:{_NAMES})['\"]?\s{{0,4}}(?:=|:(?!//))\s{{0,4}})"
    rf"(?:{_QUOTED}|{_BARE})",
    re.I,
)


class Redactor:
    """Redacts what the patterns find, and the secret values it was given."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first, so that one that holds another goes whole.
        known = sorted(set(secrets), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """Return the text with each secret replaced by `[redacted]`."""
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        for pattern in (*_CREDENTIALS, _NAMED):
            text = pattern.sub(rf"\g<keep>{REDACTED}", text)
        return text


def secret_values(environment: Mapping[str, str]) -> list[str]:
    """Return the values of the variables whose names say that they are secret."""
    return [
        value
        for name, value in environment.items()
        if is_secret_name(name) and len(value) >= _SHORTEST
    ]


def is_secret_name(name: str) -> bool:
    """Whether the name of a variable or a setting says that its value is secret."""
    return _SECRET_NAME.fullmatch(name) is not None


@cache
def _redactor() -> Redactor:
    return Redactor(secret_values(os.environ))


def redact(text: str) -> str:
    """Return the text without what is secret in this process."""
    return _redactor()(text)


def has_credential(text: str) -> bool:
    """Whether a text is or holds a credential, in form or as a secret variable's value.

    Of what only stands behind a name, the parameters of a URL alone count: prose may say anything.
    """
    if any(value in text for value in secret_values(os.environ)):
        return True
    is_url = "://" in text
    return any(p.search(text) for p in (*_CREDENTIALS, *([_NAMED] if is_url else [])))


@cache
def _free_text(kind: type[Record]) -> tuple[str, ...]:
    """Return the fields of a kind of record that hold free text; a step's has none."""
    return tuple(field.name for field in dataclasses.fields(kind) if field.name in _FREE_TEXT)


def redact_record(record: RecordT) -> RecordT:
    """Return the record with its free text redacted; the same object where nothing was secret."""
    names = _free_text(type(record))  # type: ignore[arg-type]  # a class has a hash
    if not names:
        return record
    changes: dict[str, Any] = {
        name: clean
        for name in names
        if isinstance(text := getattr(record, name), str) and (clean := redact(text)) != text
    }
    return dataclasses.replace(record, **changes) if changes else record


class RedactingFormatter(logging.Formatter):
    """A formatter whose lines, tracebacks included, are redacted."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return redact(super().format(record))


def show_redacted(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an exception that nobody caught; what `sys.excepthook` is set to."""
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
