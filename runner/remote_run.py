"""Runs on a cluster as the commands here see them: questions, and copies of a run's files.

Runs in: driver.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from argparse import Namespace
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.frames import Kind
from runner.remote_address import show_token
from runner.run_copy import Part, RunCopy
from runner.runs import RunFolder, check_name
from watchdog.errors import BadInput, RunNotFound, WatchkeeperError

if TYPE_CHECKING:
    from runner.ray_cluster import Cluster  # imports Ray

#: Chosen: a laptop that is closed leaves a question behind for so many seconds at most.
_LOOKS = 600
#: Chosen: a driver that was killed is followed by another after some seconds.
_PAUSE_S = 1.0
#: Chosen: a sender says something every second, and a person who closes a view waits no longer.
_CLOSED_S = 5.0


@contextmanager
def copied(
    args: Namespace,
    *,
    part: Part = Part.ALL,
    is_followed: bool = False,
    into: Path | None = None,
    cluster: Cluster | None = None,
) -> Iterator[RunFolder]:
    """Give a folder with a copy of a cluster's run, which every reading function takes for a run.

    The copy is whole when the body begins. Where `is_followed`, a thread keeps it up to date until
    the body ends; while the run has a driver, the copy is locked as if it had.

    Args:
        args: `address`, `runs_dir` and the run's name, as the commands have them.
        part: what of the run is copied.
        is_followed: go on copying what is added.
        into: parent of the copy; default: a folder that is removed at the end.
        cluster: the connection, if there is one already.

    Raises:
        RunNotFound: there is no such run on the cluster.
        BadInput: nothing answers at the address, or its answer is no run.
        WatchkeeperError: the cluster refused, or fell silent.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = RunCopy(RunFolder((into or Path(folder)) / name_of(args)))
        cluster = cluster or cluster_of(args)
        if is_followed:
            copy.is_kept = lambda: cluster.may_go_on(copy.run.run_id)
        copying = _Copying(cluster, copy, part, there(args))
        try:
            copying.once()
            if is_followed and copy.is_driven:
                copying.start()
            yield copy.run
        finally:
            copying.close()
            copy.close()


class _Copying:
    """Fills a copy from a cluster: once, and then in a thread as the run goes on."""

    def __init__(
        self, cluster: Cluster, copy: RunCopy, part: Part, runs_dir: Sequence[str]
    ) -> None:
        self._cluster = cluster
        self._copy = copy
        self._part = part
        self._runs_dir = runs_dir
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def once(self) -> None:
        """Copy what there is now."""
        self._copy_for(looks=1)

    def start(self) -> None:
        """Go on in a thread until the run has no driver, or `close`."""
        self._thread = threading.Thread(target=self._go_on, name="copy-of-run", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; a question under way is taken back, unless the network is gone."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=_CLOSED_S)

    def _go_on(self) -> None:
        try:
            while self._copy.is_driven and not self._closed.wait(_PAUSE_S):
                self._copy_for(looks=_LOOKS)
        except WatchkeeperError as error:
            sys.stderr.write(f"error: {error}\n")
        finally:
            self._copy.close()  # whoever reads the copy need not wait for more

    def _copy_for(self, looks: int) -> None:
        have = json.dumps(self._copy.have)
        name = self._copy.run.run_id
        command = ["send", name, "--part", self._part.value, "--looks", str(looks), "--have", have]
        rest = ""
        said = heard(self._cluster, [*command, *self._runs_dir])
        try:
            for kind, text in said:
                if kind is Kind.OUT:
                    *lines, rest = (rest + text).split("\n")
                    for line in filter(None, lines):
                        self._copy.take(line)
                if self._closed.is_set():
                    return
        finally:
            said.close()


def cluster_of(args: Namespace) -> Cluster:
    """Return the cluster that ADDRESS names.

    Raises:
        BadInput: nothing answers there.
    """
    show_token(os.environ, args.address, Path.home())
    from runner.ray_cluster import Cluster  # Ray takes a second to import, and reads that then

    return Cluster(args.address)


def name_of(args: Namespace) -> str:
    """Return the name of the run that is meant.

    Raises:
        SpecError: no run can be called so.
    """
    name: str = args.run or args.run_option
    check_name(name)
    return name


def there(args: Namespace) -> list[str]:
    """Return the option that names the runs folder on the cluster."""
    return ["--runs-dir", runs_dir_there(args.runs_dir)]


def runs_dir_there(runs_dir: Path) -> str:
    """Return the runs folder as the head is told it: one that is not absolute is in its home."""
    return str(runs_dir) if runs_dir.is_absolute() else f"~/{runs_dir}"


def document(cluster: Cluster, command: Sequence[str]) -> Any:
    """Return the JSON document that a command there answers with."""
    said = "".join(text for kind, text in heard(cluster, [*command, "--json"]) if kind is Kind.OUT)
    try:
        return json.loads(said)
    except ValueError as error:
        raise WatchkeeperError(
            f"the cluster at {cluster.address} answered {command[0]!r} with {said[:80]!r}"
        ) from error


def heard(cluster: Cluster, command: Sequence[str]) -> Generator[tuple[Kind, str], None, None]:
    """Yield what a command there says; its failure becomes the same one here.

    Raises:
        RunNotFound, BadInput, WatchkeeperError: the command there ended so.
    """
    complaint = ""
    with closing(cluster.ask(command)) as frames:
        for frame in frames:
            if frame.kind is Kind.ERR:
                complaint += frame.text
            elif frame.kind is Kind.EXIT and frame.text != "0":
                raise _failure(complaint, int(frame.text), cluster.address)
            else:
                yield frame.kind, frame.text


def _failure(complaint: str, code: int, address: str) -> WatchkeeperError:
    lines = [line for line in complaint.splitlines() if line.startswith("error: ")]
    said = lines[-1].removeprefix("error: ") if lines else complaint.strip()[-300:]
    text = f"{said or f'exit code {code}'} (on the cluster at {address})"
    if code == BadInput.exit_code:
        return RunNotFound(text) if " is not in " in said else BadInput(text)
    return WatchkeeperError(text)


def cluster_options(args: Namespace, run_id: str) -> list[str]:
    """Return the options of `submit` as given here, less those that concern this shell."""
    given = (
        ("--job", args.job),
        ("--data", args.data),
        ("--workers", args.workers),
        *(("--set", text) for text in args.overrides),
        ("--variant", args.variant),
        ("--drill", args.drill),
        ("--run", run_id),
        ("--runs-dir", runs_dir_there(args.runs_dir)),
    )
    options = [part for name, value in given if value is not None for part in (name, value)]
    return options if args.preflight else [*options, "--no-preflight"]
