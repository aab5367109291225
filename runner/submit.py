"""Drives a run in this process and shows it: what `submit` and `resume` do once all is checked.

Runs in: driver.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from runner.backend import Backend
from runner.channel import ChannelDown
from runner.checkpoints import CheckpointStore
from runner.drill_grammar import During, parse_drill
from runner.driver_drill import DriverDrill
from runner.driver_lock import clear_stop, driver_lock
from runner.job import Job
from runner.ledger_words import ledger_sentence
from runner.local_backend import LocalBackend
from runner.phases import Phase
from runner.plain_words import metric_sentences
from runner.progress import Progress
from runner.report import write_report
from runner.runs import RunFolder
from runner.spec import worker_bounds
from runner.spec_reader import ResolvedSpec
from runner.supervisor import Ending, Supervisor
from runner.tail import JsonTail
from runner.tensorboard import EventWriter
from runner.watchdog_link import Watchdog
from watchdog.errors import SpecError
from watchdog.records import RunEnded, record_from_json

_log = logging.getLogger(__name__)
_POLL_S = 0.2
#: Chosen: one scrape more at an interval of 15 s, the longest that alerts in time.
_LAST_SCRAPE_S = 20.0
_SAID = frozenset(
    {"suspect", "incident_opened", "verdict", "recovery_done", "proof", "attempt_ended"}
)
_EXIT_CODES = {Phase.FINISHED: 0, Phase.HALTED: 3, Phase.STOPPED: 130}


def find_data(name: str, resolved: ResolvedSpec, runs_dir: Path) -> Job:
    """Return the job with its data folder: the one given, else data/<job>, else None.

    Raises:
        SpecError: the folder that was given does not exist.
    """
    given = resolved.spec.data.path
    folder = Path(given).expanduser() if given else Path("data") / name
    if given and not folder.is_dir():
        raise SpecError(f"no folder {folder.absolute()}; DATA or data.path={given} names it")
    data_dir = str(folder.absolute()) if folder.is_dir() else None
    cache = runs_dir.absolute() / ".cache" / name
    return Job(resolved.spec, resolved.task_config, data_dir, str(cache))


def drive(
    run: RunFolder, resolved: ResolvedSpec, *, job: Job, is_resumed: bool, show: Progress
) -> int:
    """Run to the end, show it, write the report; return the exit code.

    Raises:
        RunLocked: another driver holds the run.
    """
    with driver_lock(run, t_s=time.time()):
        store = CheckpointStore(resolved.spec.checkpoints.path or str(run.checkpoints))
        stopping = threading.Event()
        backend = _backend(run, job, store, stopping.is_set)
        monitor: Monitor | None = None
        try:
            watchdog = backend.start()
            drill = DriverDrill(parse_drill(resolved.spec.drill), watchdog.claim)
            monitor = Monitor(run, watchdog, show, drill, stopping)
            show.say(f"metrics on {resolved.spec.watchdog.host}:{watchdog.port()}/metrics")
            supervisor = Supervisor(
                run, resolved.spec, backend, store, monitor.is_stopping, drill.recovering
            )
            try:
                with _signals(monitor):
                    ending = _run(supervisor, watchdog, monitor, is_resumed=is_resumed)
            except Exception as error:  # told on: whoever watches the metrics is to be paged
                _tell_failure(watchdog, error)
                _let_the_end_be_read(watchdog)
                raise
            _let_the_end_be_read(watchdog)
        finally:
            if monitor is not None:
                monitor.close()
            backend.close()
            show.close()
    _say_end(run, ending, show)
    return _EXIT_CODES.get(ending.phase, 1)


def _backend(
    run: RunFolder, job: Job, store: CheckpointStore, is_stopping: Callable[[], bool]
) -> Backend:
    if worker_bounds(job.spec.workers) == (0, 0):
        return LocalBackend(job, run.path, store.location)
    from runner.ray_backend import RayBackend  # Ray takes a second to import

    return RayBackend(job, run.run_id, run.path, store.location, is_stopping)


def _run(
    supervisor: Supervisor, watchdog: Watchdog, monitor: Monitor, *, is_resumed: bool
) -> Ending:
    """Drive in the main thread, where a debugger expects the work, with the monitor beside it."""
    beside = threading.Thread(target=monitor.run, name="monitor", daemon=True)
    beside.start()
    return supervisor.drive(watchdog, is_resumed=is_resumed)


def _tell_failure(watchdog: Watchdog, error: Exception) -> None:
    """Tell the watchdog that the driver cannot go on, so that the run's state is known as failed.

    Whatever is wrong may hinder this as well; the error itself is what matters then.
    """
    try:
        history = watchdog.history()
        ended = RunEnded(
            t_s=time.time(),
            attempt=history.attempt,
            step=history.step,
            state=Phase.FAILED.value,
            reason=f"the driver failed: {error!r}",
        )
        watchdog.exchange([ended])
    except (ChannelDown, OSError) as second:
        _log.warning("could not tell the watchdog that the run failed: %s", second)


def _let_the_end_be_read(watchdog: Watchdog) -> None:
    """Keep the metrics up until whoever scrapes them knows how the run ended.

    A local run's watchdog goes with its driver; an alert on a halted run needs one scrape more.
    """
    deadline = time.monotonic() + _LAST_SCRAPE_S
    try:
        while watchdog.is_end_awaited() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    except ChannelDown as error:
        _log.info("the watchdog is gone before its last scrape: %s", error)


class Monitor:
    """Shows the run and passes requests to stop on, every 0.2 s, beside the attempt."""

    def __init__(
        self,
        run: RunFolder,
        watchdog: Watchdog,
        show: Progress,
        drill: DriverDrill,
        stopping: threading.Event,
    ) -> None:
        self._drill = drill
        self._run = run
        self._watchdog = watchdog
        self._show = show
        self._ledger = JsonTail(run.ledger, from_end=True)
        self._trace = JsonTail(run.trace, from_end=False)
        self._events = EventWriter(run.tensorboard)
        self._stop_wanted = stopping
        self._stop_sent = False
        self._closed = threading.Event()
        self._lock = threading.Lock()

    def is_stopping(self) -> bool:
        """Whether somebody asked the run to stop."""
        return self._stop_wanted.is_set()

    def request_stop(self) -> None:
        """Ask for a stop; safe in a signal handler."""
        self._stop_wanted.set()

    def run(self) -> None:
        """Poll until closed; a fault here is logged and never reaches the run."""
        while not self._closed.wait(_POLL_S):
            try:
                self.poll()
            except ChannelDown as error:
                _log.info("no news from the watchdog: %s", error)
            except Exception:
                _log.exception("the progress display failed once")

    def poll(self) -> None:
        """Show what is new."""
        with self._lock:
            if self._run.stop_file.exists():
                self._stop_wanted.set()
            if self._stop_wanted.is_set() and not self._stop_sent:
                self._stop_sent = True
                self._watchdog.request_stop()
            for line in self._ledger.new_lines():
                if line.get("kind") == "checkpoint_saved":
                    self._drill.moment(During.CHECKPOINT, int(line["step"]))
                if line.get("kind") in _SAID:
                    self._show.say(ledger_sentence(line))
            for line in self._trace.new_lines():
                self._events.observe(record_from_json(line))
            snapshot = self._watchdog.snapshot()
            self._show.update(snapshot)
            self._drill.at_step(snapshot.step)

    def close(self) -> None:
        """Show the last news and stop."""
        self._closed.set()
        try:
            self.poll()
        except ChannelDown as error:
            _log.info("no last news from the watchdog: %s", error)
        self._events.close()
        clear_stop(self._run)


@contextmanager
def _signals(monitor: Monitor) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks for a clean stop; the second interrupts at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        if monitor.is_stopping():
            raise KeyboardInterrupt
        monitor.request_stop()

    old = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _say_end(run: RunFolder, ending: Ending, show: Progress) -> None:
    write_report(run.path)
    show.say(f"{ending.phase.value} at step {ending.step}: {ending.reason}")
    for line in metric_sentences(ending.metrics):
        show.say(line)
    for name, trivial in ending.trivial.items():
        if name in ending.metrics:
            show.say(
                f"{name} {ending.metrics[name]:.4f} against {trivial:.4f} of the best constant "
                f"prediction: {ending.metrics[name] - trivial:+.4f}"
            )
    show.say(f"report: {run.report}")
