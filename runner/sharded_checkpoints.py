"""Durable checkpoints of a state that is shared out, through torch.distributed.checkpoint.

Each rank writes its own part and the checksum of its own files; rank 0 writes the manifest once
all have. A checkpoint is read at any number of ranks, by each rank alone, and in one process as a
whole. Reading runs no code from the files: torch's own reader unpickles the table of contents
and any value that is no tensor without restraint, so here the table goes through an unpickler that
knows its classes and nothing else, and values that are no tensors are never written so.

Runs in: worker; reading a whole: anywhere.
"""

from __future__ import annotations

import contextlib
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import (
    FileSystem,
    FileSystemBase,
    FileSystemReader,
    FileSystemWriter,
)
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as read_parts
from torch.distributed.checkpoint.state_dict_saver import save as write_parts
from torch.distributed.device_mesh import DeviceMesh

from runner.checkpoints import CheckpointStore, SavedCheckpoint, info_of, is_file_name
from runner.files import Files, Written
from runner.shards import Path, ShareMap, leaves
from runner.state import StateInfo, Tree, map_tensors
from watchdog.errors import CheckpointDamaged, CheckpointError

T = TypeVar("T")
_CONTENTS_FILE = ".metadata"
_PLAIN_FILE = "plain.pt"
_MARK = "__tensor__"


class ShardedCheckpoints:
    """The durable checkpoints of a run whose state is shared out over the ranks.

    Every rank calls `save` for the same steps in the same order. `group` is a gloo group that
    nobody else uses, so that it may run in a thread beside the training.
    """

    def __init__(self, store: CheckpointStore, shares: ShareMap, group: dist.ProcessGroup) -> None:
        self._store = store
        self._shares = shares
        self._group = group
        self._rank = dist.get_rank()
        self._mesh = DeviceMesh.from_group(self._group, "cpu")

    def save(
        self, tree: Tree, info: StateInfo, extra: Mapping[str, Any], *, is_finite: bool = True
    ) -> SavedCheckpoint:
        """Write this rank's part of the state after `info.step`; return when all have.

        Raises:
            CheckpointError: the storage refused one of the ranks, and nothing of it is left; or a
                rank has gone, and what is left is removed by the next writer.
        """
        try:
            return self._save(tree, info, extra, is_finite)
        except (RuntimeError, ValueError) as error:  # the group is broken, or was taken down
            raise CheckpointError(f"step {info.step} is not saved: a rank has gone: {error}") from (
                error
            )

    def _save(
        self, tree: Tree, info: StateInfo, extra: Mapping[str, Any], is_finite: bool
    ) -> SavedCheckpoint:
        store, rank = self._store, self._rank
        folder = store.filling(info.step)
        self._together(info.step, lambda: store.begin(info.step) if rank == 0 else None)
        written: dict[str, Written] = {}

        def write_plain() -> None:
            """Before the parts, whose writing is a collective: a rank must not fail on its way."""
            if rank == 0:
                marked = _marked(tree)
                written[_PLAIN_FILE] = store.files.write(
                    f"{folder}/{_PLAIN_FILE}",
                    lambda stream: torch.save(marked, cast(IO[bytes], stream)),
                )

        def write() -> bool:
            self._write(tree, folder, written)
            return is_finite

        self._together(info.step, write_plain)
        parts = self._together(info.step, write)
        whole: dict[str, Written] = {}
        for files in self._gather(written):
            whole |= files
        finite = all(parts)
        about = {**extra, "layout": "sharded", "is_finite": finite}
        results = self._together(
            info.step, lambda: store.commit(info, whole, about) if rank == 0 else None
        )
        saved = results[0]
        assert isinstance(saved, SavedCheckpoint)
        return SavedCheckpoint(saved.path, saved.size_bytes, finite)

    def load(self, step: int) -> tuple[Tree, StateInfo]:
        """Return this rank's part of the state after `step`, whatever ranks wrote it.

        The ranks share out the checksums to verify; none of them trusts what another refused.

        Raises:
            CheckpointDamaged: missing, torn, altered, or not a state.
            CheckpointError: the storage does not answer.
        """
        manifest = self._store.manifest(step)
        if manifest.get("layout") != "sharded":
            return self._own_part(*self._store.load(step))
        names = sorted(manifest["files"])[self._rank :: dist.get_world_size()]
        self._store.verify(step, manifest, {*names, _CONTENTS_FILE, _PLAIN_FILE})

        def room(path: Path, size: torch.Size, dtype: torch.dtype) -> torch.Tensor:
            share = self._shares.whole(path, size)
            if share is None:
                return torch.empty(size, dtype=dtype)
            return _empty_part(share.shape, share.placements, self._mesh, dtype)

        return _read(self._store, step, room), info_of(manifest)

    def _own_part(self, tree: Tree, info: StateInfo) -> tuple[Tree, StateInfo]:
        """Return this rank's part of a state that was saved whole."""
        parts: dict[str, torch.Tensor] = {}
        for path, tensor in leaves(tree):
            share = self._shares.whole(path, tensor.shape)
            ranks = dist.get_world_size()
            part = tensor if share is None else share.cut(tensor, self._rank, ranks)
            parts[_key(path)] = part
        return _filled(_marked(tree), parts), info

    def _write(self, tree: Tree, folder: str, written: dict[str, Written]) -> None:
        """Write this rank's files; what is not shared out is written by rank 0."""
        parts: dict[str, Any] = {}
        for path, tensor in leaves(tree):
            share = self._shares.part(path, tensor)
            if share is not None:
                parts[_key(path)] = share.of(tensor, self._mesh)
            elif self._rank == 0:
                parts[_key(path)] = tensor
        writer = FileSystemWriter(folder, sync_files=False)
        writer.path = folder  # as text: a path would have to be unpickled
        writer.fs = cast(FileSystem, _CheckpointFiles(self._store.files, written))
        try:
            write_parts(parts, storage_writer=writer, process_group=self._group)
        except CheckpointException as error:
            rank, (first, _) = min(error.failures.items())
            raise OSError(getattr(first, "errno", None) or 5, f"rank {rank}: {first}") from error

    def _gather(self, item: T) -> list[T]:
        items: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(items, item, group=self._group)
        return items

    def _together(self, step: int, act: Callable[[], T]) -> list[T]:
        """Act on all ranks; return what each got, or raise on all when one could not.

        Raises:
            CheckpointError: a rank's storage refused; rank 0 has removed what was written.
        """
        error: OSError | None = None
        result: T | None = None
        try:
            result = act()
        except OSError as refused:
            error = refused
        except CheckpointError as refused:
            cause = refused.__cause__
            error = cause if isinstance(cause, OSError) else OSError(5, str(refused))
        outcomes = self._gather((result, None if error is None else (error.errno or 5, str(error))))
        failures = [failure for _, failure in outcomes if failure is not None]
        if failures:
            first = OSError(*failures[0])
            if self._rank == 0:
                raise self._store.refused(step, first) from first
            raise CheckpointError(f"step {step} is not saved: {first}") from first
        return [cast(T, outcome) for outcome, _ in outcomes]


def load_whole(store: CheckpointStore, step: int) -> tuple[Tree, StateInfo]:
    """Return the state after `step` in one piece, whether it lies in one or in shards.

    Raises:
        CheckpointDamaged: missing, torn, altered, or not a state.
        CheckpointError: the storage does not answer.
    """
    manifest = store.manifest(step)
    if manifest.get("layout") != "sharded":
        return store.load(step)
    store.verify(step, manifest)
    tree = _read(store, step, lambda _, size, dtype: torch.empty(size, dtype=dtype))
    return tree, info_of(manifest)


def _read(
    store: CheckpointStore,
    step: int,
    room: Callable[[Path, torch.Size, torch.dtype], torch.Tensor],
) -> Tree:
    """Return the tree of a checkpoint, each tensor read into what `room` makes for it."""
    plain = store.load_file(step, _PLAIN_FILE)
    reader = _SafeReader(store, step)
    contents = reader.read_metadata().state_dict_metadata
    try:
        targets: dict[str, Any] = {}
        for path, name in _marks(plain):
            entry = contents.get(name)
            if not isinstance(entry, TensorStorageMetadata):
                raise CheckpointDamaged(f"step {step}: {name} is not in the table of contents")
            targets[name] = room(path, entry.size, entry.properties.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "assuming a single process": it is meant
            read_parts(targets, storage_reader=reader, planner=_TensorsOnly(), no_dist=True)
        return _filled(plain, targets)
    except CheckpointError:
        raise
    # Of damaged bytes torch raises whatever it comes to; its own is no Exception.
    except (Exception, CheckpointException) as error:
        raise CheckpointDamaged(f"cannot read the parts of step {step}: {error}") from error


class _TensorsOnly(DefaultLoadPlanner):
    """Refuses what torch would unpickle without restraint."""

    def load_bytes(self, read_item: Any, value: Any) -> None:
        raise CheckpointDamaged(f"{read_item.dest_index.fqn} is no tensor")


class _SafeReader(FileSystemReader):
    """Torch's reader over our files, with a table of contents that can run no code."""

    def __init__(self, store: CheckpointStore, step: int) -> None:
        super().__init__(f"step_{step:08d}")
        self.fs = cast(FileSystem, _CheckpointFiles(store.files, {}))
        self._step = step

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        try:
            with self.fs.create_stream(self.fs.concat_path(self.path, _CONTENTS_FILE), "rb") as raw:
                metadata = _ContentsUnpickler(raw).load()
            _check_places(metadata)
        except Exception as error:  # of damaged bytes pickle raises whatever it comes to
            raise CheckpointDamaged(
                f"the table of contents of step {self._step} is none: {error}"
            ) from error
        return cast(Metadata, metadata)


def _check_places(metadata: Any) -> None:
    """Refuse a table that leads out of the checkpoint's folder.

    Raises:
        TypeError: it is no table.
        ValueError: it names a file elsewhere.
    """
    if not isinstance(metadata, Metadata):
        raise TypeError(f"it holds {type(metadata).__name__}")
    if not isinstance(getattr(metadata, "state_dict_metadata", None), dict):
        raise TypeError("it lists no tensors")
    for place in metadata.storage_data.values():
        if not is_file_name(place.relative_path):
            raise ValueError(f"{place.relative_path!r} is no name of a file in its folder")


class _ContentsUnpickler(pickle.Unpickler):
    """Knows the classes of a table of contents, which hold data and do nothing."""

    _KNOWN = frozenset(
        {
            ("torch", "Size"),
            ("torch", "device"),
            ("torch.serialization", "_get_layout"),
            ("torch.distributed.checkpoint.metadata", "Metadata"),
            ("torch.distributed.checkpoint.metadata", "MetadataIndex"),
            ("torch.distributed.checkpoint.metadata", "StorageMeta"),
            ("torch.distributed.checkpoint.metadata", "TensorStorageMetadata"),
            ("torch.distributed.checkpoint.metadata", "TensorProperties"),
            ("torch.distributed.checkpoint.metadata", "ChunkStorageMetadata"),
            ("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING"),
            ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in self._KNOWN:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong there")


class _CheckpointFiles(FileSystemBase):
    """Our files as torch.distributed.checkpoint wants them; `written` gets their checksums."""

    def __init__(self, files: Files, written: dict[str, Written]) -> None:
        self._files = files
        self._written = written

    @contextlib.contextmanager
    def create_stream(self, path: Any, mode: str) -> Iterator[Any]:
        if mode == "rb":
            with self._files.open(str(path)) as raw:
                yield raw
            return
        with self._files.writing(str(path)) as stream:
            yield stream
        self._written[_base(path)] = stream.written()

    def concat_path(self, path: Any, suffix: str) -> str:
        return f"{path}/{suffix}"

    def init_path(self, path: Any) -> str:
        return str(path)

    def rename(self, path: Any, new_path: Any) -> None:
        self._files.move(str(path), str(new_path))
        self._written[_base(new_path)] = self._written.pop(_base(path))

    def mkdir(self, path: Any) -> None:
        """Do nothing: rank 0 has made the folder."""

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return True

    def exists(self, path: Any) -> bool:
        return self._files.has_file(str(path))

    def rm_file(self, path: Any) -> None:
        self._files.remove_file(str(path))


def _base(path: Any) -> str:
    return str(path).rpartition("/")[2]


def _empty_part(
    shape: torch.Size, placements: Any, mesh: DeviceMesh, dtype: torch.dtype
) -> torch.Tensor:
    return torch.distributed.tensor.empty(
        shape, dtype=dtype, device_mesh=mesh, placements=placements
    )


def _key(path: Path) -> str:
    return "/".join(map(str, path))


def _marked(tree: Tree) -> Tree:
    """Return the tree with a mark in the place of each tensor: its name in the parts."""
    names = iter([_key(path) for path, _ in leaves(tree)])
    return map_tensors(lambda _: {_MARK: next(names)}, tree)


def _marks(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(tree, Mapping):
        if _MARK in tree:
            yield path, str(tree[_MARK])
            return
        for key, value in tree.items():
            yield from _marks(value, (*path, key))
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            yield from _marks(value, (*path, index))


def _filled(tree: Tree, tensors: Mapping[str, Any]) -> Tree:
    if isinstance(tree, Mapping):
        if _MARK in tree:
            found = tensors[tree[_MARK]]
            return found.to_local() if hasattr(found, "to_local") else found
        return {key: _filled(value, tensors) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_filled(value, tensors) for value in tree)
    return tree
