"""Where and how a run is started, written down for whoever has to tell two runs apart.

Runs in: driver (asks git, the kernel and the installed packages).
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from runner.runs import RunFolder
from watchdog.redaction import redact

_PACKAGES = ("watchkeeper", "torch", "ray", "numpy", "pydantic")
#: Chosen: git answers in milliseconds; on a sick network drive nobody waits for it.
_GIT_TIMEOUT_S = 5.0


def write_environment(run: RunFolder, arguments: Sequence[str]) -> None:
    """Write `environment.json` into the folder of a run; what cannot be found out is left out."""
    found = describe_environment(arguments)
    run.environment.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def describe_environment(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the command, versions, hardware and git commit of this process."""
    return {
        "command": redact(shlex.join(["python", "-m", "runner", *arguments])),
        "versions": {"python": platform.python_version(), **package_versions(_PACKAGES)},
        "hardware": hardware(),
        "git": git_state(Path.cwd()),
    }


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """Return the installed version of each package."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware() -> dict[str, str]:
    """Return host, system, processors, memory and graphics cards, as the kernel tells them."""
    found = {"host": platform.node(), "system": platform.platform()}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = _field(_read(Path("/proc/cpuinfo")), "model name")
    found["processors"] = f"{cores} cores" + (f", {model}" if model else "")
    if memory := _field(_read(Path("/proc/meminfo")), "MemTotal"):
        found["memory"] = f"{int(memory.split()[0]) / 1024**2:.1f} GiB"
    cards = [
        _field(_read(card), "Model")
        for card in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    ]
    found["graphics cards"] = ", ".join(card for card in cards if card) or "none"
    return found


def git_state(folder: Path) -> dict[str, str]:
    """Return the commit of a working copy and whether it was changed; empty where there is none."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    found = {"commit": commit, "subject": _git(folder, "log", "-1", "--format=%s") or ""}
    if changed is not None:
        count = len(changed.splitlines())
        found["changes"] = f"{count} changed files" if count else "none"
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git says, or None if it cannot say anything."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # not Linux


def _field(text: str, name: str) -> str:
    """Return the first value of `name : value`."""
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return ""


def flat(found: Mapping[str, Any]) -> dict[str, str]:
    """Return what an `environment.json` says as texts by name; nested names go without theirs."""
    out: dict[str, str] = {}
    for name, value in found.items():
        if isinstance(value, Mapping):
            out |= {
                f"git {key}" if name == "git" else str(key): str(item)
                for key, item in value.items()
                if item not in ("", None)
            }
        elif isinstance(value, str | int | float):
            out[str(name)] = str(value)
    return out
