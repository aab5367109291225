"""Durable checkpoints: written aside, checksummed, then made visible; found out when damaged.

A checkpoint is a folder `step_00000100/` with one file of state, or one from each rank, and
`manifest.json`, which is written last and names the checksum of every file, so a torn write is
never taken for a checkpoint. On a local disk the folder is filled beside its place and renamed
into it; one of the same step gives way only then. A damaged checkpoint is put in quarantine: its
manifest is renamed, so that nobody finds it again, and its files stay for a look.

Runs in: worker (writing), driver (listing).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import IO, Any, cast

import torch

from runner.files import Files, StorageFaults, Written
from runner.state import StateInfo, Tree
from watchdog.errors import CheckpointDamaged, CheckpointError

_log = logging.getLogger(__name__)
_NAME = re.compile(r"step_(\d{8,})")
_FILE_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,200}")
_STATE_FILE = "state.pt"
_MANIFEST_FILE = "manifest.json"
_QUARANTINED_FILE = "manifest.quarantined.json"
_FORMAT = 1
#: Chosen: enough to look at what went wrong; more would fill the disk.
_KEPT_IN_QUARANTINE = 2


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """What saving one came to; `is_finite` is true only when every rank's part is."""

    path: str
    size_bytes: int
    is_finite: bool = True


class CheckpointStore:
    """The durable checkpoints of a run, at `location`: a folder or a URL pyarrow or fsspec knows.

    `faults` is what a drill sets to have a full disk.

    Raises:
        CheckpointError: the location cannot be used.
    """

    def __init__(self, location: str, faults: StorageFaults | None = None) -> None:
        self.location = location
        self.faults = faults or StorageFaults()
        self.files = Files(location, self.faults)

    def steps(self) -> tuple[int, ...]:
        """Return the steps that have a complete checkpoint, oldest first."""
        folders = [match for name in self.files.folders() if (match := _NAME.fullmatch(name))]
        whole = [m for m in folders if self.files.has_file(f"{m[0]}/{_MANIFEST_FILE}")]
        return tuple(sorted(int(match[1]) for match in whole))

    def save(
        self, tree: Tree, info: StateInfo, extra: Mapping[str, Any], *, is_finite: bool = True
    ) -> SavedCheckpoint:
        """Write the state after `info.step`, replacing one of the same step.

        `extra` goes into the manifest as it is: epoch, metrics, time, skipped samples.

        Raises:
            CheckpointError: the storage refused (disk full, no permission, network).
        """
        folder = self.begin(info.step)
        try:
            written = self.files.write(
                f"{folder}/{_STATE_FILE}", lambda stream: torch.save(tree, cast(IO[bytes], stream))
            )
        except OSError as error:
            raise self.refused(info.step, error) from error
        saved = self.commit(info, {_STATE_FILE: written}, {**extra, "is_finite": is_finite})
        return replace(saved, is_finite=is_finite)

    def begin(self, step: int) -> str:
        """Make the folder that a checkpoint is filled in; return its name.

        Raises:
            CheckpointError: the storage refused.
        """
        folder = self.filling(step)
        try:
            self.files.make_folder(folder)
        except OSError as error:
            raise self.refused(step, error) from error
        return folder

    def filling(self, step: int) -> str:
        """Return the name of the folder that a checkpoint is filled in."""
        return f"{_name(step)}.partial" if self.files.is_local else _name(step)

    def commit(
        self, info: StateInfo, written: Mapping[str, Written], extra: Mapping[str, Any]
    ) -> SavedCheckpoint:
        """Make a filled folder visible as the checkpoint of `info.step`.

        Raises:
            CheckpointError: the storage refused; nothing of it is left.
        """
        folder, final = self.filling(info.step), _name(info.step)
        manifest = {
            "format": _FORMAT,
            **asdict(info),
            "rng": "every step seeds all generators from (seed, step, rank)",
            "trust": "candidate",
            "files": {
                name: {"sha256": file.sha256, "bytes": file.size_bytes}
                for name, file in sorted(written.items())
            },
            **extra,
        }
        try:
            self.files.write_json(f"{folder}/{_MANIFEST_FILE}", manifest)
            if self.files.is_local:
                self._replace(folder, final)
        except OSError as error:
            raise self.refused(info.step, error) from error
        size = sum(file.size_bytes for file in written.values())
        return SavedCheckpoint(f"{self.files.root}/{final}", size)

    def refused(self, step: int, error: OSError) -> CheckpointError:
        """Remove what a failed save left, and return what to raise."""
        try:
            self.files.remove(self.filling(step))
        except OSError as left:
            _log.warning("left %s behind: %s", self.filling(step), left)
        return CheckpointError(
            f"could not write the checkpoint of step {step} to {self.location}: {error}; "
            "the place is set by checkpoints.path"
        )

    def manifest(self, step: int) -> dict[str, Any]:
        """Return the manifest of a step.

        Raises:
            CheckpointDamaged: there is none, or it is not one.
            CheckpointError: the storage does not answer.
        """
        path = f"{_name(step)}/{_MANIFEST_FILE}"
        try:
            manifest = json.loads(self.files.read(path))
        except (FileNotFoundError, ValueError, RecursionError) as error:
            raise CheckpointDamaged(f"no readable manifest at {path}: {error}") from error
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error}") from error
        if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
            raise CheckpointDamaged(f"{path} is not a manifest of format {_FORMAT}")
        _check_files(manifest.get("files"), path)
        return manifest

    def load(self, step: int) -> tuple[Tree, StateInfo]:
        """Return the state after `step`, its checksum verified; nothing in it can run code.

        Raises:
            CheckpointDamaged: missing, torn, altered, or not a state.
            CheckpointError: the storage does not answer, or it holds one shard for each rank.
        """
        manifest = self.manifest(step)
        if _STATE_FILE not in manifest.get("files", ()):
            raise CheckpointError(
                f"the checkpoint of step {step} is in shards; sharded_checkpoints reads it"
            )
        self.verify(step, manifest)
        return self.load_file(step, _STATE_FILE), info_of(manifest)

    def verify(
        self, step: int, manifest: Mapping[str, Any], names: Iterable[str] | None = None
    ) -> None:
        """Compare files with the checksums of the manifest; all of them when not named.

        Raises:
            CheckpointDamaged: one is missing or altered.
            CheckpointError: the storage does not answer.
        """
        for name in sorted(manifest["files"]) if names is None else names:
            path = f"{_name(step)}/{name}"
            try:
                expected = manifest["files"][name]["sha256"]
                actual = self.files.checksum(path)
            except (FileNotFoundError, LookupError, TypeError) as error:
                raise CheckpointDamaged(f"{path} is damaged: {error}") from error
            except OSError as error:
                raise CheckpointError(f"cannot read {path}: {error}") from error
            if actual.sha256 != expected:
                raise CheckpointDamaged(
                    f"{path} is damaged: its SHA-256 is {actual.sha256[:12]}, "
                    f"the manifest says {expected[:12]} ({actual.size_bytes} bytes)"
                )

    def load_file(self, step: int, name: str) -> Tree:
        """Return what `torch.save` wrote into a file; only tensors and plain values can be in it.

        Raises:
            CheckpointDamaged: it is not such a file, or holds anything else.
        """
        path = f"{_name(step)}/{name}"
        try:
            with self.files.open(path) as stream:
                return torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:  # of damaged bytes torch and pickle raise whatever they come to
            raise CheckpointDamaged(f"cannot read the checkpoint at {path}: {error}") from error

    def quarantine(self, step: int) -> None:
        """Take a damaged checkpoint out of sight; its files stay for a look."""
        folder = _name(step)
        if self.files.has_file(f"{folder}/{_MANIFEST_FILE}"):
            self.files.move(f"{folder}/{_MANIFEST_FILE}", f"{folder}/{_QUARANTINED_FILE}")

    def sweep(self) -> None:
        """Remove what a killed writer left, and the oldest in quarantine; before the first save."""
        names = self.files.folders()
        for name in names:
            base, _, suffix = name.partition(".")
            if suffix == "partial" or (suffix == "old" and base in names):
                self.files.remove(name)
            elif suffix == "old":
                self.files.move(name, base)
        hidden = [n for n in names if _NAME.fullmatch(n) and not self._is_visible(n)]
        kept = [n for n in sorted(hidden) if self.files.has_file(f"{n}/{_QUARANTINED_FILE}")]
        for name in set(hidden) - set(kept[-_KEPT_IN_QUARANTINE:]):
            self.files.remove(name)

    def set_trust(self, step: int, trust: str) -> None:
        """Write the trust of a checkpoint into its manifest, if it still exists.

        Raises:
            OSError: the storage refused; the manifest is as it was.
        """
        try:
            manifest = self.manifest(step)
        except CheckpointError:
            return
        if manifest.get("trust") != trust:
            self.files.write_json(f"{_name(step)}/{_MANIFEST_FILE}", {**manifest, "trust": trust})

    def remove(self, step: int) -> None:
        """Delete the checkpoint of a step: first what makes it visible, then the rest."""
        self.files.remove_file(f"{_name(step)}/{_MANIFEST_FILE}")
        self.files.remove(_name(step))

    def _is_visible(self, name: str) -> bool:
        return self.files.has_file(f"{name}/{_MANIFEST_FILE}")

    def _replace(self, folder: str, final: str) -> None:
        """Rename into place; one of the same step is gone only once the new one is there."""
        is_there = self.files.has_folder(final)
        if is_there:
            self.files.remove(f"{final}.old")
            self.files.move(final, f"{final}.old")
        self.files.move(folder, final)
        if is_there:
            self.files.remove(f"{final}.old")


def info_of(manifest: Mapping[str, Any]) -> StateInfo:
    """Return where in the run the state of a manifest was taken.

    Raises:
        CheckpointDamaged: the manifest does not say.
    """
    found: dict[str, int] = {}
    for name in StateInfo.__slots__:
        value = manifest.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
            raise CheckpointDamaged(f"a manifest says {name}={str(value)[:40]}, no whole number")
        found[name] = value
    return StateInfo(**found)


def is_file_name(name: Any) -> bool:
    """Whether a name can be one of a file in a checkpoint's folder, and leads nowhere else."""
    return isinstance(name, str) and _FILE_NAME.fullmatch(name) is not None


def _check_files(files: Any, path: str) -> None:
    """Refuse a manifest whose files are none of its own folder: it may be a stranger's.

    Raises:
        CheckpointDamaged: they are not.
    """
    if not isinstance(files, dict):
        raise CheckpointDamaged(f"{path} names no files")
    for name, about in files.items():
        if not is_file_name(name):
            raise CheckpointDamaged(f"{path}: {name[:80]!r} is no name of a file in its folder")
        if not (isinstance(about, dict) and isinstance(about.get("sha256"), str)):
            raise CheckpointDamaged(f"{path} has no checksum of {name}")


def _name(step: int) -> str:
    return f"step_{step:08d}"


def to_retire(steps: tuple[int, ...], trust: Mapping[int, str], keep: int) -> tuple[int, ...]:
    """Return the steps whose checkpoints may go: all but the newest `keep` and the last trusted."""
    trusted = [s for s in steps if trust.get(s) == "trusted"]
    spared = {*steps[-keep:], *trusted[-1:]}
    return tuple(s for s in steps if s not in spared)
