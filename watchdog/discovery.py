"""Tells Prometheus where each run's watchdog listens: one `file_sd` file a run, in one folder.

The file goes up before the first step and comes down after the end. A watchdog that was killed
leaves its own behind, so `up` is 0 and somebody is paged. As another run may listen on its port by
then, each target asks for its run by name (`/metrics?run=…`), and an exporter of another run
refuses.

Runs in: watchdog actor; driver (takes the list of a dead run down).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

_FOLDER = ".prometheus"
#: Touched at scrapes: whether anybody scrapes the runs of this folder. Not `*.json`: no target.
_SCRAPED = "scraped"
#: Chosen: who scraped the runs here within a day is taken to do so still.
_SCRAPED_AGE_S = 86400.0
#: Addresses to listen on that nobody can connect to.
_WILDCARDS = frozenset({"0.0.0.0", "::", "[::]"})  # recognised, not listened on


def sd_file(run_dir: Path) -> Path:
    """Return the file that lists the watchdog of a run."""
    return run_dir.parent / _FOLDER / f"{run_dir.name}.json"


def list_run(run_dir: Path, host: str, port: int, node: str) -> None:
    """Put a run on Prometheus's list.

    Args:
        run_dir: the folder of the run; its name is the run's.
        host: the address the exporter listens on.
        port: its port.
        node: the address of the machine, which is listed where `host` means all of its addresses.

    Raises:
        OSError: the folder cannot be written.
    """
    address = node if host in _WILDCARDS else host
    if ":" in address:
        address = f"[{address.strip('[]')}]"
    labels = {"run": run_dir.name, "__param_run": run_dir.name}
    write_file_sd(sd_file(run_dir), f"{address}:{port}", labels)


def unlist_run(run_dir: Path) -> bool:
    """Take a run off the list; return whether it was on it."""
    file = sd_file(run_dir)
    was_listed = file.exists()
    file.unlink(missing_ok=True)
    return was_listed


def note_scrape(run_dir: Path) -> None:
    """Note that somebody scrapes the runs of this folder.

    Raises:
        OSError: the folder cannot be written.
    """
    (run_dir.parent / _FOLDER / _SCRAPED).touch()


def is_scraped(run_dir: Path, now_s: float) -> bool:
    """Whether somebody has lately scraped a run of this folder, this one or another."""
    try:
        scraped_s = (run_dir.parent / _FOLDER / _SCRAPED).stat().st_mtime
    except FileNotFoundError:
        return False
    return now_s - scraped_s < _SCRAPED_AGE_S


def write_file_sd(path: Path, target: str, labels: Mapping[str, str]) -> None:
    """Write a `file_sd` file that is never seen half-written.

    `target` is `host:port`; `labels` are put on every series of it, `up` included.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Prometheus reads what matches *.json, so the half-written file must not.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps([{"targets": [target], "labels": dict(labels)}]) + "\n")
    partial.replace(path)
