"""What of a checkout travels to a cluster: the files that git would keep, less secrets, zipped.

Ray's Jobs API takes no more than 100 MiB, and what it takes can be read by everybody on the
cluster. So ignored files stay, files that hold passwords by their name stay even where they are
committed, links that lead out of the checkout stay, and a checkout that is too large is refused
before anything is sent, with what is large in it.

Runs in: driver.
"""

from __future__ import annotations

import fnmatch
import subprocess
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from watchdog.errors import BadInput

#: Source: ray.dashboard, the largest body of a request (it answers 413 above).
LIMIT_BYTES = 100 * 2**20
#: Folders that stay behind where git cannot say what is ignored.
_NEVER = frozenset(
    {".git", ".venv", "venv", "__pycache__", "node_modules", "runs", "data", "build", "dist"}
)
#: Names of files that hold secrets by custom; case does not matter.
SECRET_FILES = (
    ".env", ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.kdbx", "*.keytab",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", ".pypirc", ".npmrc", ".pgpass",
    ".git-credentials", ".htpasswd", "kubeconfig*", "credentials", "credentials.*", "secrets",
    "secrets.*", "service-account*.json", "service_account*.json", "*auth_token", "token",
)  # fmt: skip
#: Names of folders that hold secrets by custom.
SECRET_FOLDERS = frozenset(
    {".ssh", ".aws", ".azure", ".gcloud", ".gnupg", ".kube", ".docker", ".ray", "secrets"}
)
#: Code and what shows what belongs into a file of secrets is none, whatever it is called.
_HARMLESS = ("*.py", "*.md", "*.example", "*.sample", "*.template")
_SHOWN = 5
#: Chosen: whoever looks for what to leave out need not know of less than this share.
_WORTH_NAMING = 0.03
#: Chosen: code and text shrink to a third; what is ten times too large is refused unread.
_BEST_RATIO = 10
#: Chosen: the archive's name is its checksum, so equal files must give equal bytes.
_STAMP = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Upload:
    """An archive that is ready to be sent, and the files with secret names that are not in it."""

    archive: Path
    files: int
    size_bytes: int
    left_out: tuple[str, ...]


def pack_checkout(root: Path, archive: Path, limit_bytes: int = LIMIT_BYTES) -> Upload:
    """Write what travels of the checkout at `root` into a zip file.

    Raises:
        BadInput: it is larger than the limit; the message names the largest folders.
    """
    names = _candidates(root)
    found = {name: path for name in names if (path := _inside(root, name)) is not None}
    # A link may have a harmless name and lead to a secret.
    base = root.resolve()
    secret = {n for n, path in found.items() if is_secret(n) or is_secret(_below(path, base))}
    sizes = {name: found[name].stat().st_size for name in sorted(found.keys() - secret)}
    refusal = BadInput(too_large(root, sizes, limit_bytes))
    if sum(sizes.values()) > limit_bytes * _BEST_RATIO:
        raise refusal
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sizes:
            _add(target, found[name], name)
            if archive.stat().st_size > limit_bytes:
                raise refusal
    if archive.stat().st_size > limit_bytes:
        raise refusal
    return Upload(archive, len(sizes), archive.stat().st_size, tuple(sorted(secret)))


def is_secret(name: str) -> bool:
    """Whether a file, by its path below the checkout, holds secrets by custom."""
    *folders, own = PurePosixPath(name.lower()).parts
    if not SECRET_FOLDERS.isdisjoint(folders):
        return True
    if any(fnmatch.fnmatchcase(own, pattern) for pattern in _HARMLESS):
        return False
    return any(fnmatch.fnmatchcase(own, pattern) for pattern in SECRET_FILES)


def too_large(root: Path, sizes: Mapping[str, int], limit_bytes: int) -> str:
    """Return the sentence that refuses a checkout, with the folders that make it large."""
    largest = ", ".join(f"{folder} {_mib(size)}" for folder, size in largest_folders(sizes))
    return (
        f"the code in {root} is too large to be sent: {len(sizes)} files of "
        f"{_mib(sum(sizes.values()))} are over {_mib(limit_bytes)} when packed, the limit of Ray's "
        f"Jobs API; largest: {largest}; name them in .gitignore or move them away; data does not "
        "travel, DATA= is a path on the cluster"
    )


def largest_folders(sizes: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the folders of the first two levels that hold most, the largest first.

    A folder that owes nearly all to one below it is not named beside that one.
    """
    totals: Counter[str] = Counter()
    for name, size in sizes.items():
        folders = PurePosixPath(name).parts[:-1]
        for depth in range(1, min(2, len(folders)) + 1):
            totals["/".join(folders[:depth]) + "/"] += size
        if not folders:
            totals[name] += size
    hidden = {
        str(PurePosixPath(folder).parent) + "/"
        for folder, size in totals.items()
        if size > 0.9 * totals.get(str(PurePosixPath(folder).parent) + "/", size * 2)
    }
    least = _WORTH_NAMING * sum(sizes.values())
    found = [(n, size) for n, size in totals.most_common() if size >= least and n not in hidden]
    return found[:_SHOWN]


def _candidates(root: Path) -> Sequence[str]:
    """Return the files below `root` that git has or would take, or all but the usual leavings."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others"]
    try:
        listed = subprocess.run(
            [*command, "--exclude-standard"], capture_output=True, check=True, timeout=60
        ).stdout.decode("utf-8", errors="surrogateescape")
    except (OSError, subprocess.SubprocessError):
        found = (path for path in root.rglob("*") if path.is_file())
        names = (path.relative_to(root).as_posix() for path in found)
        return [name for name in names if _NEVER.isdisjoint(PurePosixPath(name).parts)]
    return [name for name in dict.fromkeys(listed.split("\0")) if name]


def _below(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix()


def _inside(root: Path, name: str) -> Path | None:
    """Return the file of that name, or None where it is gone, no file, or leads out of the root."""
    path = (root / name).resolve()
    return path if path.is_relative_to(root.resolve()) and path.is_file() else None


def _add(target: zipfile.ZipFile, path: Path, name: str) -> None:
    info = zipfile.ZipInfo(name, _STAMP)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (0o755 if path.stat().st_mode & 0o100 else 0o644) << 16
    target.writestr(info, path.read_bytes())


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB"
