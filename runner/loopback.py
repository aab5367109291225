"""Keeps what a run on this machine listens with on loopback, with a token that is nobody else's.

Ray and gloo listen on every interface of the machine unless told otherwise, and who reaches Ray's
ports may run any code there. Their only doors are variables of the environment, which Ray reads
when it is imported, so this comes before that. What the user has set stays, and a run on a cluster
(RAY_ADDRESS) is left alone: its nodes must reach each other.

Runs in: driver.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from watchdog.errors import BadInput

_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"

#: The first has Ray use 127.0.0.1 as the node's address, as it does by itself on a Mac; its servers
#: then listen there alone.
_SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "GLOO_SOCKET_IFNAME": _LOOPBACK,
    "NCCL_SOCKET_IFNAME": _LOOPBACK,
}
#: Where Ray looks for its token when these are not set: ~/.ray/auth_token.
_TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def confine(environment: MutableMapping[str, str]) -> None:
    """Set what keeps a run on this machine to itself; nothing for a run on a cluster."""
    if environment.get("RAY_ADDRESS"):
        return
    for name, value in _SETTINGS.items():
        environment.setdefault(name, value)


def ensure_token(environment: Mapping[str, str], home: Path) -> None:
    """See to it that the Ray of this machine has a token that nobody else can read.

    Ray would make one that every user of the machine can read.

    Raises:
        BadInput: it cannot be written.
    """
    # Unset means that Ray asks for a token when `ray.init` starts a cluster.
    is_wanted = environment.get("RAY_AUTH_MODE", "token").lower() == "token"
    if not is_wanted or any(environment.get(name) for name in _TOKEN_VARIABLES):
        return
    path = home / ".ray" / "auth_token"
    try:
        if path.exists() and path.stat().st_size:
            _shut(path)
        else:
            _write_token(path)
    except OSError as error:
        raise BadInput(
            f"no token for Ray at {path}: {error}; name another place with RAY_AUTH_TOKEN_PATH, or "
            "go without by RAY_AUTH_MODE=disabled: then every user of this machine may run code "
            "in the run"
        ) from error


def _shut(path: Path) -> None:
    """Take the right to read from all but the owner, where that is us."""
    found = path.stat()
    if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o600)


def _write_token(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"auth_token.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    try:
        path.hardlink_to(partial)  # the first of two drivers that start together wins
    except FileExistsError:
        _shut(path)
    finally:
        partial.unlink()
