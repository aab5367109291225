"""What travels to a cluster: what git would keep, no secrets, and not too much."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from runner.upload import is_secret, largest_folders, pack_checkout
from watchdog.errors import BadInput


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a git checkout with code, leavings and secrets."""
    root = tmp_path / "checkout"
    for name, text in {
        "pyproject.toml": "", "runner/loop.py": "loop", "runner/secrets.py": "code",
        ".gitignore": "/data/\n*.log\n", "data/scan.tif": "pixels", "run.log": "noise",
        ".env": "KEY=1", "jobs/mine/.env.local": "KEY=2", "deploy/tls/server.key": "KEY=3",
        "jobs/mine/task.py": "task", ".env.example": "KEY=",
    }.items():  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    return root


def packed(root: Path, tmp_path: Path) -> set[str]:
    with zipfile.ZipFile(pack_checkout(root, tmp_path / "sent.zip").archive) as archive:
        return set(archive.namelist())


TRAVELS = {
    ".env.example", ".gitignore", "jobs/mine/task.py", "pyproject.toml", "runner/loop.py",
    "runner/secrets.py",
}  # fmt: skip


def test_ignored_files_and_secrets_stay(checkout: Path, tmp_path: Path) -> None:
    assert packed(checkout, tmp_path) == TRAVELS


def test_a_secret_stays_even_where_it_is_committed(checkout: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "-C", str(checkout), "add", "--force", "."], check=True)
    assert not {".env", "deploy/tls/server.key"} & packed(checkout, tmp_path)
    upload = pack_checkout(checkout, tmp_path / "sent.zip")
    assert upload.left_out == (".env", "deploy/tls/server.key", "jobs/mine/.env.local")


def test_without_git_the_usual_leavings_and_secrets_stay(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".git").rename(tmp_path / "gone")
    assert packed(checkout, tmp_path) == TRAVELS | {"run.log"}


def test_links_that_lead_out_or_to_a_secret_stay(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    (checkout / "notes.txt").symlink_to(tmp_path / "key")
    (checkout / "settings.txt").symlink_to(".env")
    (checkout / "gone.txt").symlink_to("nowhere")
    (checkout / "copy.txt").symlink_to("runner/loop.py")
    assert packed(checkout, tmp_path) == TRAVELS | {"copy.txt"}


def test_equal_files_give_an_equal_archive(checkout: Path, tmp_path: Path) -> None:
    first = pack_checkout(checkout, tmp_path / "a.zip").archive.read_bytes()
    os.utime(checkout / "runner" / "loop.py", (1, 1))
    assert pack_checkout(checkout, tmp_path / "b.zip").archive.read_bytes() == first


def test_what_is_too_large_is_refused_with_its_largest_folders(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "weights" / "old").mkdir(parents=True)
    (checkout / "weights" / "old" / "model.bin").write_bytes(os.urandom(300_000))
    (checkout / "jobs" / "mine" / "scan.bin").write_bytes(os.urandom(100_000))
    said = r"over 0\.1 MiB .*largest: weights/old/ 0\.3 MiB, jobs/mine/ 0\.1 MiB; .*\.gitignore"
    with pytest.raises(BadInput, match=said):
        pack_checkout(checkout, tmp_path / "sent.zip", limit_bytes=100_000)


def test_a_folder_is_named_once() -> None:
    sizes = {"a/b/c": 100, "a/d": 1, "e/f/x": 40, "e/g/x": 30, "top": 15, "tiny": 1}
    assert largest_folders(sizes) == [
        ("a/b/", 100),
        ("e/", 70),
        ("e/f/", 40),
        ("e/g/", 30),
        ("top", 15),
    ]


@pytest.mark.parametrize(
    "name",
    [".env", "a/.ENV.prod", "id_ed25519", "x/.ssh/config", "deploy/secrets/grafana", "tls/a.PEM",
     ".ray/auth_token", "credentials.json", ".netrc"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["environment.py", "jobs/tokenizer/data.py", "env.yaml", ".env.example", "secrets.md"]
)
def test_names_that_only_sound_so(name: str) -> None:
    assert not is_secret(name)
