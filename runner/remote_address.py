"""The address of a cluster and the token it asks for, before Ray is imported.

Runs in: driver.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from urllib.parse import urlsplit

from watchdog.errors import BadInput

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def dashboard_url(address: str) -> str:
    """Return the URL of a dashboard; `head:8265` is as good as `http://head:8265`.

    Ray would take an address without a scheme for its own protocol and wait for half a minute.

    Raises:
        BadInput: it is no such URL.
    """
    url = address if "://" in address else f"http://{address}"
    parts = urlsplit(url)
    try:
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname and parts.port)
    except ValueError:  # a port that is no number
        is_usable = False
    if not is_usable:
        raise BadInput(
            f"{address} is no dashboard of a Ray cluster; it looks like http://head:8265; "
            f"ADDRESS={address}"
        )
    return url.rstrip("/")


def show_token(environment: MutableMapping[str, str], address: str, home: Path) -> None:
    """See to it that Ray shows a token that was named, or this machine's own to itself.

    Ray's own default shows none at all. What the user has set stays.
    """
    is_named = any(environment.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    is_here = urlsplit(dashboard_url(address)).hostname in _LOOPBACK
    if is_named or (is_here and (home / ".ray" / "auth_token").is_file()):
        environment.setdefault("RAY_AUTH_MODE", "token")
