"""Refuses settings that are secrets: a job file is copied, shown and kept, and no place for them.

`runs/<id>/job.yaml` must hold all that a resume needs, so a secret cannot be taken out of it later;
it has to be kept from getting in. Code that needs one reads it from the environment.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runner.overrides import Layer, merge, origin_of
from watchdog.errors import SpecError
from watchdog.redaction import has_credential, is_secret_name

#: Names that never hold anything else, unlike `mask_token` or `sort_key`.
_ALWAYS = re.compile(r"[\w-]*(?:passwo?r?d|passwd|passphrase|secret|credentials?)", re.IGNORECASE)
#: Chosen: letters and digits mixed, as in keys; "[MASK]", "<eos>" and plain words are not.
_KEY_LIKE = re.compile(r"(?=[^\d]*\d)(?=[^A-Za-z]*[A-Za-z])[\w.~+/=-]{8,}")


def refuse_secrets(layers: Sequence[Layer]) -> None:
    """Let no setting through whose name or value says that it is a secret.

    Raises:
        SpecError: one does; the message names the setting and not its value.
    """
    for path, value in _texts(merge(layers), ()):
        if _is_secret(path[-1], value):
            origin = origin_of(layers, path).partition("=")[0]
            name = ".".join(path)
            raise SpecError(
                f"{origin}: {name} holds a secret (a value of {len(value)} characters), which "
                "would be kept in the run's job.yaml and shown in its report; set an environment "
                "variable, and read that in the job's code (checkpoint storage reads its own: "
                f"AWS_ACCESS_KEY_ID and the like); leave {name} out"
            )


def _is_secret(name: str, value: str) -> bool:
    if has_credential(value):
        return True
    if _ALWAYS.fullmatch(name):
        return bool(value)
    return is_secret_name(name) and _KEY_LIKE.fullmatch(value) is not None


def _texts(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text among the settings with its path; an item of a list has that of the list."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*path, str(key)))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, path)
    elif isinstance(value, str) and path:
        yield path, value
