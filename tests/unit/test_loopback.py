"""What a local run sets before Ray is imported, and the token that Ray asks for."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from runner.loopback import confine, ensure_token
from watchdog.errors import BadInput


def test_a_local_run_keeps_to_loopback() -> None:
    environment: dict[str, str] = {}
    confine(environment)
    assert environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert environment["GLOO_SOCKET_IFNAME"].startswith("lo")
    assert environment["NCCL_SOCKET_IFNAME"].startswith("lo")


def test_what_the_user_set_stays() -> None:
    environment = {"GLOO_SOCKET_IFNAME": "eth1", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    confine(environment)
    assert environment["GLOO_SOCKET_IFNAME"] == "eth1"
    assert environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"


def test_nodes_of_a_cluster_must_reach_each_other() -> None:
    environment = {"RAY_ADDRESS": "10.0.0.1:6379"}
    confine(environment)
    assert environment == {"RAY_ADDRESS": "10.0.0.1:6379"}


def test_the_token_is_the_owners_alone(tmp_path: Path) -> None:
    ensure_token({}, tmp_path)
    path = tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    token = path.read_text()
    assert len(token) == 64
    ensure_token({}, tmp_path)
    assert path.read_text() == token, "a token that is there is kept"
    assert [entry.name for entry in path.parent.iterdir()] == ["auth_token"]


def test_a_token_that_others_can_read_is_shut_to_them(tmp_path: Path) -> None:
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("older")
    path.chmod(0o644)
    ensure_token({"RAY_AUTH_MODE": "token"}, tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "older"


@pytest.mark.parametrize(
    "environment",
    [
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_TOKEN": "given"},
        {"RAY_AUTH_TOKEN_PATH": "/run/secrets/token"},
    ],
)
def test_no_token_is_made_where_the_user_decided(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    ensure_token(environment, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / ".ray").write_text("a file where a folder should be")
    with pytest.raises(BadInput, match="RAY_AUTH_TOKEN_PATH"):
        ensure_token({}, tmp_path)
