"""Reads what ``/metrics`` says, strictly, as Prometheus would."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["OPENMETRICS", "Scrape", "complaints_of", "scrape"]

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Scrape:
    """The families of one scrape, by name."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = {family.name: family for family in families}

    def value(self, sample: str, **labels: str) -> float:
        """Return the sum of the samples of a name that have these labels; 0 where there is none."""
        found = [one for family in self.families.values() for one in family.samples if one.name == sample]
        return sum(one.value for one in found if labels.items() <= one.labels.items())

    @property
    def counters(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Everything that only grows."""
        grows = [family for family in self.families.values() if family.type in {"counter", "histogram"}]
        return {(one.name, frozenset(one.labels.items())): one.value for family in grows for one in family.samples}


def scrape(http: httpx.Client, *, openmetrics: bool = False) -> Scrape:
    """Scrape a server."""
    answer = http.get("/metrics", headers={"Accept": OPENMETRICS if openmetrics else ""}).raise_for_status()
    return Scrape(read_openmetrics(answer.text) if openmetrics else text_string_to_metric_families(answer.text))


def complaints_of(family: Metric) -> Iterator[str]:
    """Yield what ``promtool check metrics`` would complain of; of a counter that OpenMetrics told, whose name has no ``_total``."""
    name, words = family.name, family.name.split("_")
    if not family.documentation:
        yield f"{name} says nothing of itself"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        yield f"{name} has capitals, colons or worse in it"
    if words[-1] in {"total", "count", "sum", "bucket"}:
        yield f"{name} ends like a sample of another type"
    if wrong := {family.type, "ms", "milliseconds", "minutes", "hours", "kb", "mb", "kilobytes", "megabytes", "percent"} & set(words):
        yield f"{name} has a type, or no base unit: {wrong}"
    labels = set().union(*(sample.labels for sample in family.samples))
    if bad := {label for label in labels if not re.fullmatch(r"[a-z][a-z0-9_]*", label)} | (labels & {"quantile", "instance", "job"}):
        yield f"{name} has labels that are Prometheus's or no words: {bad}"
