"""Durable checkpoints on any pyarrow file system: written aside, checksummed, then made visible.

A checkpoint is a folder `step_00000100/` with `state.pt` and `manifest.json`. The manifest is
written last and names the checksum of every file, so a torn write is never taken for a checkpoint.
On a local disk the folder is filled beside its place and renamed into it.

Runs in: worker (writing), driver (listing).
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import fsspec.core
import pyarrow
import torch
from pyarrow import fs

from runner.state import StateInfo, Tree
from watchdog.errors import CheckpointError

_log = logging.getLogger(__name__)
_NAME = re.compile(r"step_(\d{8,})")
_STATE_FILE = "state.pt"
_MANIFEST_FILE = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """What saving one came to."""

    path: str
    size_bytes: int


class CheckpointStore:
    """The durable checkpoints of a run, at `location`: a folder or a URL pyarrow or fsspec knows.

    Raises:
        CheckpointError: the location cannot be used.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self._fs, self._root = _open(location)
        self._is_local = isinstance(self._fs, fs.LocalFileSystem)

    def steps(self) -> tuple[int, ...]:
        """Return the steps that have a complete checkpoint, oldest first."""
        selector = fs.FileSelector(self._root, allow_not_found=True)
        folders = [
            (int(match[1]), info.path)
            for info in self._fs.get_file_info(selector)
            if info.type == fs.FileType.Directory and (match := _NAME.fullmatch(info.base_name))
        ]
        return tuple(sorted(step for step, path in folders if self._exists(path)))

    def save(self, tree: Tree, info: StateInfo, extra: Mapping[str, Any]) -> SavedCheckpoint:
        """Write the state after `info.step`, replacing one of the same step.

        `extra` goes into the manifest as it is: epoch, metrics, time, skipped samples.

        Raises:
            CheckpointError: the storage refused (disk full, no permission, network).
        """
        final = self._folder(info.step)
        folder = f"{final}.partial" if self._is_local else final
        buffer = io.BytesIO()
        torch.save(tree, buffer)
        state = buffer.getvalue()
        manifest = {
            "format": _FORMAT,
            **asdict(info),
            "rng": "every step seeds all generators from (seed, step, rank)",
            "trust": "candidate",
            "files": {
                _STATE_FILE: {
                    "sha256": hashlib.sha256(state).hexdigest(),
                    "bytes": len(state),
                }
            },
            **extra,
        }
        try:
            self._remove(folder)
            self._fs.create_dir(folder, recursive=True)
            self._write(f"{folder}/{_STATE_FILE}", state)
            self._write(f"{folder}/{_MANIFEST_FILE}", _json(manifest))
            if self._is_local:
                self._remove(final)
                self._fs.move(folder, final)
        except OSError as error:
            self._remove_quietly(folder)
            raise CheckpointError(
                f"could not write the checkpoint of step {info.step} to {final}: {error}; "
                "the place is set by checkpoints.path"
            ) from error
        return SavedCheckpoint(final, len(state))

    def manifest(self, step: int) -> dict[str, Any]:
        """Return the manifest of a step.

        Raises:
            CheckpointError: there is none, or it is not one.
        """
        path = f"{self._folder(step)}/{_MANIFEST_FILE}"
        try:
            manifest = json.loads(self._read(path))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"no readable manifest at {path}: {error}") from error
        if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
            raise CheckpointError(f"{path} is not a manifest of format {_FORMAT}")
        return manifest

    def load(self, step: int) -> tuple[Tree, StateInfo]:
        """Return the state after `step`, its checksum verified; nothing in it can run code.

        Raises:
            CheckpointError: missing, torn, altered, or not a state.
        """
        manifest = self.manifest(step)
        path = f"{self._folder(step)}/{_STATE_FILE}"
        try:
            data = self._read(path)
            expected = manifest["files"][_STATE_FILE]["sha256"]
            actual = hashlib.sha256(data).hexdigest()
            if actual != expected:
                raise CheckpointError(
                    f"{path} is damaged: its SHA-256 is {actual[:12]}, "
                    f"the manifest says {expected[:12]} ({len(data)} bytes)"
                )
            tree = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            fields = {name: int(manifest[name]) for name in StateInfo.__slots__}
        except (OSError, LookupError, ValueError, RuntimeError, EOFError, UnpicklingError) as error:
            raise CheckpointError(f"cannot read the checkpoint at {path}: {error}") from error
        return tree, StateInfo(**fields)

    def set_trust(self, step: int, trust: str) -> None:
        """Write the trust of a checkpoint into its manifest, if it still exists."""
        try:
            manifest = self.manifest(step)
        except CheckpointError:
            return
        if manifest["trust"] != trust:
            manifest["trust"] = trust
            path = f"{self._folder(step)}/{_MANIFEST_FILE}"
            if self._is_local:
                self._write(f"{path}.partial", _json(manifest))
                self._fs.move(f"{path}.partial", path)
            else:
                self._write(path, _json(manifest))

    def remove(self, step: int) -> None:
        """Delete the checkpoint of a step: first what makes it visible, then the rest."""
        self._fs.delete_file(f"{self._folder(step)}/{_MANIFEST_FILE}")
        self._remove(self._folder(step))

    def _folder(self, step: int) -> str:
        return f"{self._root}/step_{step:08d}"

    def _exists(self, folder: str) -> bool:
        info = self._fs.get_file_info(f"{folder}/{_MANIFEST_FILE}")
        return bool(info.type == fs.FileType.File)

    def _read(self, path: str) -> bytes:
        with self._fs.open_input_stream(path) as stream:
            return bytes(stream.read())

    def _write(self, path: str, data: bytes) -> None:
        with self._fs.open_output_stream(path) as stream:
            stream.write(data)
        if self._is_local:
            _sync(path)

    def _remove(self, folder: str) -> None:
        if self._fs.get_file_info(folder).type != fs.FileType.NotFound:
            self._fs.delete_dir(folder)

    def _remove_quietly(self, folder: str) -> None:
        try:
            self._remove(folder)
        except OSError as error:
            _log.warning("left %s behind: %s", folder, error)


def _open(location: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a place and the path in it: pyarrow's own, else any of fsspec's."""
    if "://" not in location:
        return fs.LocalFileSystem(), str(Path(location).resolve())
    try:
        try:
            filesystem, path = fs.FileSystem.from_uri(location)
        except pyarrow.ArrowInvalid:  # a scheme pyarrow does not know
            other, path = fsspec.core.url_to_fs(location)
            filesystem = fs.PyFileSystem(fs.FSSpecHandler(other))
    except (OSError, ValueError, ImportError) as error:
        raise CheckpointError(
            f"cannot use {location} for checkpoints: {error}; the place is set by checkpoints.path"
        ) from error
    return filesystem, path.rstrip("/")


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode()


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_retire(steps: tuple[int, ...], trust: Mapping[int, str], keep: int) -> tuple[int, ...]:
    """Return the steps whose checkpoints may go: all but the newest `keep` and the last trusted."""
    trusted = [s for s in steps if trust.get(s) == "trusted"]
    spared = {*steps[-keep:], *trusted[-1:]}
    return tuple(s for s in steps if s not in spared)
