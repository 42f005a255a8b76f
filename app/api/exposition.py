"""From figures to metric families, as Prometheus knows them. Every family is there from the start, most without a sample.

What the store has is the same whichever process answers. What a process says of itself, its requests and its
memory, is under names of its own, so nothing is said twice within one answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app import __version__
from app.api.errors import STATUS
from app.api.request_series import SERVED
from app.jobs.figures import Figures, WorkerFigures
from app.jobs.series import COUNTED, JOB_ERRORS, LE, SUM, Cell, Series
from app.own_process import OwnProcess

__all__ = ["PREFIX", "registry_of"]

PREFIX = "mlx_local_"
Queue = tuple[str, str, str]  # its name, and the model and lane that it is for; both empty: for any
Samples = Iterable[tuple[Sequence[str], float]]


class _Families(Collector):
    """Families that are complete already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._families


def registry_of(figures: Figures | None, queues: Sequence[Queue], requests: Mapping[Cell, float], process: OwnProcess) -> CollectorRegistry:
    """Return everything that one scrape is told.

    Args:
        figures: Of the store; None: it does not answer, so nothing is said of it but that.
        queues: Those that are told of even while nothing waits in them.
        requests: What this process has counted.
        process: What it takes.
    """
    families = [*_process(process), *(_counted(series, requests) for series in SERVED), _store_up(figures)]
    if figures is not None:
        families += [*_waiting(figures, queues), *(_counted(series, figures.numbers) for series in COUNTED), *_workers(figures.workers)]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return registry


def _gauge(name: str, about: str, labels: Sequence[str], samples: Samples) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, about, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _counter(name: str, about: str, labels: Sequence[str], samples: Samples) -> CounterMetricFamily:
    family = CounterMetricFamily(name, about, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _counted(series: Series, numbers: Mapping[Cell, float]) -> Metric:
    """Return a counter or a histogram from its numbers. What an earlier version counted with other labels or buckets is left out."""
    mine = {cell: number for cell, number in numbers.items() if cell.name == series.name and len(cell.labels) == len(series.labels)}
    if not series.buckets:
        sums: dict[tuple[str, ...], float] = {} if series.labels else {(): 0.0}
        for cell, number in mine.items():
            labels = _bounded(series, cell.labels)
            sums[labels] = sums.get(labels, 0) + number
        return _counter(PREFIX + series.name, series.help, series.labels, sorted(sums.items()))
    family = HistogramMetricFamily(PREFIX + series.name, series.help, labels=series.labels)
    for labels in sorted({cell.labels for cell in mine}):
        below, buckets = 0.0, []
        for bound in series.bounds:
            below += mine.get(Cell(series.name, labels, LE, bound), 0)
            buckets.append((bound, below))
        family.add_metric(labels, buckets, mine.get(Cell(series.name, labels, SUM), 0))
    return family


def _bounded(series: Series, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels; an error code that we do not know, of a later version perhaps, is other."""
    return labels if series is not JOB_ERRORS or labels[1] in STATUS else (labels[0], "other")


def _store_up(figures: Figures | None) -> Metric:
    return _gauge(f"{PREFIX}store_up", "Whether Redis answers; while it does not, nothing else of the store is told.", (),
                  [((), float(figures is not None))])  # fmt: skip


def _waiting(figures: Figures, queues: Sequence[Queue]) -> Iterator[Metric]:
    known = {name: (name, model, lane) for name, model, lane in queues}
    lengths = {name: figures.queues.get(name, 0) for name in known} | {name: count for name, count in figures.queues.items() if count}
    ages = {name: figures.heads[name].waited_s if name in figures.heads else 0.0 for name in lengths}
    labels = ("queue", "model", "lane")
    rows = {name: known.get(name, (name, "", "")) for name in sorted(lengths)}
    yield _gauge(f"{PREFIX}queue_jobs", "Jobs that wait in a queue.", labels, ((rows[name], lengths[name]) for name in rows))
    yield _gauge(
        f"{PREFIX}queue_oldest_job_seconds", "How long ago the first job of a queue was submitted; 0: nobody waits.", labels,
        ((rows[name], ages[name]) for name in rows),
    )  # fmt: skip
    yield _gauge(
        f"{PREFIX}jobs", "Jobs in the store, children too, by kind and state. Those that ended leave in time.", ("kind", "state"),
        sorted(figures.standing.items()),
    )  # fmt: skip
    yield _gauge(f"{PREFIX}store_used_bytes", "Memory that Redis uses.", (), [((), figures.used_bytes)])
    yield _gauge(f"{PREFIX}workers", "Workers that live.", (), [((), len(figures.workers))])


def _workers(workers: Sequence[WorkerFigures]) -> Iterator[Metric]:
    def told(name: str, about: str, number: str) -> Metric:
        said = ((one.home, getattr(one, number)) for one in workers)
        return _gauge(PREFIX + name, about, ("home",), [((home,), float(value)) for home, value in said if value is not None])

    yield told("memory_budget_bytes", "What models may use together.", "budget_bytes")
    yield told("memory_used_bytes", "What models use of it, and what a load has reserved.", "used_bytes")
    yield told("memory_short", "1: other programs leave so little memory that nothing new begins.", "memory_short")
    yield _gauge(
        f"{PREFIX}model_resident_bytes", "The weights of models in memory.", ("home", "model"),
        (((one.home, model), state.bytes) for one in workers for model, state in sorted(one.models.items()) if state.state == "resident"),
    )  # fmt: skip
    yield told("downloads_running", "Downloads that are going on.", "downloads")
    yield told("download_rate_bytes_per_second", "Bytes that they bring in a second, lately.", "download_bytes_per_s")
    yield told("worker_start_time_seconds", "When the worker's process began, seconds since the epoch.", "started_at")
    yield told("worker_resident_memory_bytes", "Memory of the worker's process.", "resident_bytes")
    yield told("worker_threads", "Threads of the worker's process.", "threads")
    yield told("worker_open_fds", "Open file descriptors of the worker's process.", "open_files")
    yield _counter(
        f"{PREFIX}worker_cpu_seconds_total", "Processor time of the worker's process; begins anew with it.", ("home",),
        [((one.home,), one.cpu_s) for one in workers],
    )  # fmt: skip


def _process(process: OwnProcess) -> Iterator[Metric]:
    yield _gauge(f"{PREFIX}build_info", "The version of this process.", ("version",), [((__version__,), 1)])
    yield _counter("process_cpu_seconds_total", "Processor time of this process.", (), [((), process.cpu_s)])
    yield _gauge("process_resident_memory_bytes", "Memory of this process.", (), [((), process.resident_bytes)])
    yield _gauge("process_start_time_seconds", "When this process began, seconds since the epoch.", (), [((), process.started_at)])
    yield _gauge("process_open_fds", "Open file descriptors of this process.", (), [((), process.open_files)])
    yield _gauge("process_threads", "Threads of this process.", (), [((), process.threads)])
