"""The two ends of the line between training and its watchdog: over Ray, or in one process.

Runs in: worker and driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import ray

from runner.channel import Channel, ChannelDown
from runner.roll import RollLine
from watchdog.history import RunHistory
from watchdog.host import WatchdogHost
from watchdog.records import AttemptEnded, Order, Record, Verdict
from watchdog.snapshot import Snapshot

#: Chosen: longer than a watchdog restart (0.6 s measured), shorter than anyone's patience.
_TIMEOUT_S = 10.0
#: Chosen: the other half is Ray's own and the job's, and a copy on its way needs room twice.
_COPIES_SHARE = 0.5


class Watchdog(Protocol):
    """The driver's view of the watchdog; `WatchdogHost` is one."""

    def exchange(self, records: Sequence[Record]) -> Order | None:
        """Take records in; return the order that is pending."""
        ...

    def attempt_ended(self, record: AttemptEnded) -> Verdict:
        """Take the end of an attempt in; return how to go on."""
        ...

    def history(self) -> RunHistory:
        """Return what is needed to plan the next attempt."""
        ...

    def snapshot(self) -> Snapshot:
        """Return the frozen view of the run."""
        ...

    def claim(self, key: str) -> int:
        """Return how often `key` was claimed before, and count this claim."""
        ...

    def request_stop(self) -> None:
        """Order all ranks to stop at the same step."""
        ...

    def held_steps(self) -> tuple[int, ...]:
        """Return the steps with a copy of a memory checkpoint."""
        ...

    def port(self) -> int:
        """Return the port of the metrics."""
        ...

    def is_end_awaited(self) -> bool:
        """Whether somebody scrapes the metrics and has not read yet that the run ended."""
        ...

    def close(self) -> None:
        """Stop it."""
        ...


class _Remote:
    """Calls the actor's methods by name and waits for the answer.

    Raises from every method:
        ChannelDown: no answer within 10 s; Ray may be restarting the actor.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)

        def call(*args: Any) -> Any:
            try:
                return ray.get(getattr(self._actor, method).remote(*args), timeout=_TIMEOUT_S)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
                raise ChannelDown(f"{method}: {error}") from error

        return call


def remote_watchdog(actor: Any) -> Watchdog:
    """Return the driver's end of the line to a watchdog actor."""
    return cast(Watchdog, _Remote(actor))


class RayChannel(_Remote):
    """A worker's end over Ray.

    What `hold` is given travels through the object store, and the watchdog keeps it mapped in that
    of its own node, the head where there is one: it outlives the worker and the worker's node, and
    is copied neither into nor out of the watchdog's process.
    """

    keeps_copies = True

    def end_watchdog(self) -> None:
        """Kill the watchdog's process, for a drill."""
        self.end_soon()

    def copy_room_bytes(self) -> int:
        """Return half of the smallest object store of the cluster: either end must hold a copy.

        Raises:
            ChannelDown: Ray does not answer.
        """
        try:
            stores = [
                float(node["Resources"]["object_store_memory"])
                for node in ray.nodes()
                if node["Alive"] and "object_store_memory" in node["Resources"]
            ]
        except ray.exceptions.RayError as error:
            raise ChannelDown(f"copy_room_bytes: {error}") from error
        return int(min(stores, default=0.0) * _COPIES_SHARE)


def ray_channel(actor: Any) -> Channel:
    """Return a worker's end of the line to a watchdog actor."""
    return cast(Channel, RayChannel(actor))


def roll_line(actor: Any) -> RollLine:
    """Return a worker process's line to the roll call of a watchdog actor."""
    return cast(RollLine, _Remote(actor))


class LocalChannel:
    """A worker's end in the watchdog's own process; there is no copy outside of it."""

    keeps_copies = False

    def __init__(self, host: WatchdogHost) -> None:
        self.exchange = host.exchange
        self.claim = host.claim
        self.end_watchdog = host.end_soon
        self.trust = host.trust

    def hold(self, step: int, payload: Mapping[str, Any]) -> tuple[int, ...]:
        """Do nothing: a copy in the same process would die with it."""
        return ()

    def held(self, step: int, rank: int = 0) -> Mapping[str, Any] | None:
        """Return None: nothing is held."""
        return None

    def held_steps(self) -> tuple[int, ...]:
        """Return none."""
        return ()

    def drop_held_after(self, step: int) -> None:
        """Do nothing: nothing is held."""

    def copy_room_bytes(self) -> int:
        """Return 0: nothing is held."""
        return 0
