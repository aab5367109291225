"""Worker processes with a real watchdog in the test's process and no Ray; for test_recovery_tiers.

Each process plays one scenario after another: importing torch is what takes long.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from jobs.template.config import Config
from runner import telemetry
from runner.channel import ChannelDown
from runner.job import Job
from runner.process_group import MeetingPoint, ProcessGroup
from runner.worker import Seat, Worker
from tests.e2e.gloo_pair import digest, spec
from watchdog.config import WatchdogConfig
from watchdog.host import WatchdogHost
from watchdog.tiers import RecoveryConfig, Renewal

_KEY = b"crew"


class _Desk(BaseManager):
    """Where worker processes find the watchdog of a scenario."""


@dataclass(frozen=True)
class Scenario:
    """One run of the template job over `ranks` ranks, in a folder of its own."""

    folder: str
    port: int
    drill: str | None = None
    steps: int = 60
    ranks: int = 2
    strategy: str = "ddp"


class Front:
    """The test's end: a watchdog for each scenario, reachable by the worker processes."""

    def __init__(self) -> None:
        self.hosts: dict[str, WatchdogHost] = {}
        _Desk.register("host", callable=self.hosts.__getitem__)
        self._server = _Desk(address=("127.0.0.1", 0), authkey=_KEY).get_server()
        address = self._server.address
        assert isinstance(address, tuple)
        self.port = address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def open(self, folder: Path, recovery: RecoveryConfig, **facts: Any) -> Scenario:
        folder.mkdir()
        host = WatchdogHost(str(folder), WatchdogConfig(port=0), recovery, renewal=Renewal.SINGLE)
        self.hosts[str(folder)] = host
        return Scenario(str(folder), self.port, **facts)

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()


class Line:
    """A worker's line to the watchdog in the test's process."""

    keeps_copies = False

    def __init__(self, scenario: Scenario) -> None:
        _Desk.register("host")
        desk = _Desk(address=("127.0.0.1", scenario.port), authkey=_KEY)
        desk.connect()
        self._host = desk.host(scenario.folder)  # type: ignore[attr-defined]

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)

        def call(*args: Any) -> Any:
            try:
                return getattr(self._host, method)(*args)
            except (EOFError, OSError) as error:
                raise ChannelDown(str(error)) from error

        return call

    def hold(self, step: int, payload: Mapping[str, Any]) -> Sequence[int]:
        raise AssertionError("keeps no copies")

    def held(self, step: int, rank: int = 0) -> Mapping[str, Any] | None:
        return None


def play(number: int, scenarios: Any, results: Any) -> None:
    """Be worker process `number` in one scenario after another, until told None."""
    torch.set_num_threads(1)
    telemetry._SEND_S, telemetry._LOOK_S = 0.01, 0.002
    for scenario in iter(scenarios.get, None):
        results.put((number, *run(number, scenario)))


def run(number: int, scenario: Scenario) -> tuple[Any, ...]:
    """Return (whether it had a rank at the end, last step, digest of the weights, why it left)."""
    wanted = spec(scenario.steps)
    train = wanted.train.model_copy(update={"strategy": scenario.strategy})
    wanted = wanted.model_copy(update={"drill": scenario.drill, "train": train})
    job = Job(wanted, Config(), None, scenario.folder)
    seat = Seat(0, number, scenario.ranks, torch.device("cpu"))
    line = Line(scenario)
    worker = Worker(job, seat, line, line, f"{scenario.folder}/checkpoints")
    returned = worker.run()
    assert worker._build is not None
    has_trained = worker._session is not None
    return has_trained, returned.step, digest(worker._build.model), returned.left


def wait_in_vain(rank: int, ports: Any, results: Any) -> None:
    """Rank 0 waits in a collective that rank 1 never joins; a thread frees it."""
    torch.set_num_threads(1)
    meeting = MeetingPoint("127.0.0.1")
    if rank == 0:
        ports.put(meeting.port)
    group = ProcessGroup(0, rank, 2, "gloo")
    group.open(meeting, "127.0.0.1", meeting.port if rank == 0 else ports.get())
    if rank == 1:
        results.put("idle")
        ports.get()  # until rank 0 is free
        group.retire()
        return
    timer = threading.Timer(0.3, group.unblock)
    timer.start()
    try:
        dist.all_reduce(torch.ones(1))
    except RuntimeError as error:
        results.put(type(error).__name__)
    ports.put(0)
    group.retire()
