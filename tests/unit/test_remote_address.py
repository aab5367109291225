"""Where a cluster is, and which token it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.remote_address import dashboard_url, show_token
from watchdog.errors import BadInput


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://head:8265", "http://head:8265"),
        ("head:8265", "http://head:8265"),
        ("https://ray.example.org:443/", "https://ray.example.org:443"),
        ("[::1]:8265", "http://[::1]:8265"),
    ],
)
def test_an_address_is_the_url_of_a_dashboard(given: str, url: str) -> None:
    assert dashboard_url(given) == url


@pytest.mark.parametrize("given", ["head", "ray://head:10001", "http://", "head:port", ":8265", ""])
def test_what_is_no_dashboard_is_refused_at_once(given: str) -> None:
    with pytest.raises(BadInput, match="looks like http://head:8265"):
        dashboard_url(given)


def mode(home: Path, address: str, **environment: str) -> str | None:
    show_token(environment, address, home)
    return environment.get("RAY_AUTH_MODE")


def test_a_token_that_was_named_is_shown(tmp_path: Path) -> None:
    assert mode(tmp_path, "http://head:8265", RAY_AUTH_TOKEN_PATH="token") == "token"
    assert mode(tmp_path, "http://head:8265", RAY_AUTH_TOKEN="t") == "token"
    assert mode(tmp_path, "http://head:8265") is None


def test_the_token_of_this_machine_is_shown_to_this_machine_alone(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("t")
    assert mode(tmp_path, "http://127.0.0.1:8265") == "token"
    assert mode(tmp_path, "localhost:8265") == "token"
    assert mode(tmp_path, "http://head:8265") is None


def test_what_the_user_set_stays(tmp_path: Path) -> None:
    given = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "t"}
    assert mode(tmp_path, "http://head:8265", **given) == "disabled"
