"""Serves the watchdog's snapshot to Prometheus over HTTP.

Each scrape reads one snapshot; nothing is counted here. The registry is our own, because Ray's
metrics drop a gauge 20 s after it was last set and never show a NaN loss.

Runs in: watchdog actor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib import metadata

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from watchdog.exposition import Durations, Sample, durations, samples
from watchdog.latency import BOUNDS_S
from watchdog.metrics import CATALOGUE, Family, MetricType
from watchdog.metrics_server import listen
from watchdog.snapshot import TERMINAL_STATES, Snapshot

DEFAULT_PORT = 9465

#: How long the series of an ended run stay, in seconds.
#: Chosen: at least two scrapes of any usual interval, so that the last values are seen.
DEFAULT_GRACE_S = 300.0

#: Chosen: whoever scraped within the last minute, the longest usual interval, will scrape again.
_SCRAPE_AGE_S = 60.0


class SnapshotCollector(Collector):
    """Turns the snapshot of each scrape into metric families of the catalogue."""

    def __init__(
        self, snapshot: Callable[[], Snapshot], clock: Callable[[], float], grace_s: float
    ) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._grace_s = grace_s
        self._ended_t_s: float | None = None
        self._peaks: dict[tuple[str, tuple[str, ...]], float] = {}
        self.scraped_t_s: float | None = None
        self._has_served_end = False

    def is_end_awaited(self) -> bool:
        """Whether somebody scrapes this run and has not read yet that it ended."""
        if self.scraped_t_s is None or self._has_served_end:
            return False
        return self._clock() - self.scraped_t_s < _SCRAPE_AGE_S

    def collect(self) -> Iterator[Metric]:
        """Yield the families; only the watchdog's own once the run is over for the grace."""
        snapshot = self._snapshot()
        self.scraped_t_s = self._clock()
        self._has_served_end = snapshot.state in TERMINAL_STATES
        build = Sample("training_watchdog_build_info", 1.0, (_version(),))
        by_family: dict[str, list[Sample]] = {build.name: [build]}
        histograms: dict[str, list[Durations]] = {}
        if not self._is_past_grace(snapshot):
            for sample in map(self._never_falling, samples(snapshot)):
                by_family.setdefault(sample.name, []).append(sample)
            for of_cause in durations(snapshot):
                histograms.setdefault(of_cause.name, []).append(of_cause)
        run = (snapshot.job, snapshot.run_id)
        for name, family in CATALOGUE.items():
            if name in by_family:
                yield _family(family, by_family[name], run)
            if name in histograms:
                yield _histogram(family, histograms[name], run)

    def _is_past_grace(self, snapshot: Snapshot) -> bool:
        if snapshot.state not in TERMINAL_STATES:
            self._ended_t_s = None
            return False
        now_s = self._clock()
        if self._ended_t_s is None:
            self._ended_t_s = now_s
        return now_s - self._ended_t_s >= self._grace_s

    def _never_falling(self, sample: Sample) -> Sample:
        """Return a counter's sample at the highest value it ever had; others as they are.

        Goodput takes time back from `productive` when steps are thrown away. To Prometheus a
        counter that falls has been reset, and its rate would jump by the whole value.
        """
        if CATALOGUE[sample.name].type is not MetricType.COUNTER:
            return sample
        key = (sample.name, sample.labels)
        self._peaks[key] = max(sample.value, self._peaks.get(key, 0.0))
        return Sample(sample.name, self._peaks[key], sample.labels)


def _family(family: Family, current: list[Sample], run: tuple[str, str]) -> Metric:
    own = run if family.is_of_run else ()
    labels = family.all_labels
    match family.type:
        case MetricType.GAUGE:
            gauge = GaugeMetricFamily(family.base_name, family.help, labels=labels)
            for sample in current:
                gauge.add_metric((*own, *sample.labels), sample.value)
            return gauge
        case MetricType.COUNTER:
            counter = CounterMetricFamily(family.base_name, family.help, labels=labels)
            for sample in current:
                counter.add_metric((*own, *sample.labels), sample.value)
            return counter
        case MetricType.INFO:
            info = InfoMetricFamily(family.base_name, family.help, labels=labels[: len(own)])
            for sample in current:
                info.add_metric(own, dict(zip(family.labels, sample.labels, strict=True)))
            return info
        case MetricType.STATESET:
            states = StateSetMetricFamily(family.base_name, family.help, labels=labels)
            states.add_metric(own, {s.labels[0]: s.value == 1.0 for s in current})
            return states
        case MetricType.HISTOGRAM:
            raise AssertionError(f"{family.name} has durations, not samples")


def _histogram(family: Family, current: list[Durations], run: tuple[str, str]) -> Metric:
    out = HistogramMetricFamily(family.name, family.help, labels=family.all_labels)
    bounds = [*map(floatToGoString, BOUNDS_S), "+Inf"]
    for of_cause in current:
        buckets = list(zip(bounds, of_cause.histogram.cumulative(), strict=True))
        out.add_metric((*run, of_cause.label), buckets, of_cause.histogram.sum_s)
    return out


def _version() -> str:
    try:
        return metadata.version("watchkeeper")
    except metadata.PackageNotFoundError:
        return "unknown"


class Exporter:
    """An HTTP server with the metrics of one run at `/metrics`; `port` is the real one.

    Named its `run`, it refuses whoever asks for another's: `/metrics?run=…`.

    Raises:
        OSError: the address cannot be listened on, for another reason than a busy port.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        *,
        run: str | None = None,
        clock: Callable[[], float] = time.time,
        grace_s: float = DEFAULT_GRACE_S,
    ) -> None:
        registry = CollectorRegistry(auto_describe=False)
        self._collector = SnapshotCollector(snapshot, clock, grace_s)
        registry.register(self._collector)
        self._server, self._thread = listen(host, port, registry, run)
        self.host = host
        self.port: int = self._server.server_port

    @property
    def scraped_t_s(self) -> float | None:
        """When somebody last read the metrics; None before the first time."""
        return self._collector.scraped_t_s

    def is_end_awaited(self) -> bool:
        """Whether somebody scrapes this run and has not read yet that it ended."""
        return self._collector.is_end_awaited()

    def close(self) -> None:
        """Stop serving and free the port; calling it twice is harmless."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
