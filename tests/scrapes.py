"""Reads what ``/metrics`` says, strictly, as Prometheus would."""

from __future__ import annotations

from collections.abc import Iterable

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["OPENMETRICS", "Scrape", "scrape"]

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
