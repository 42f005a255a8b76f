"""Traces for tests on the simulated machine, drawn from few values so that ties happen."""

from __future__ import annotations

from hypothesis import strategies as st

from app.jobs.record import Lane
from bench.simulation.machine import Arrival, SimModel, Trace

__all__ = ["NAMES", "traces"]

NAMES = "abc"

_models = st.builds(
    SimModel,
    bytes=st.sampled_from([1, 2, 3, 5]),
    load_s=st.sampled_from([0.5, 2.0]),
    slots=st.sampled_from([1, 2, 4]),
    residency=st.sampled_from(["always", "on-demand"]),
    idle_ttl_s=st.sampled_from([1.0, 60.0]),
)
_arrivals = st.builds(
    Arrival,
    at=st.integers(0, 24).map(lambda half: half / 2),
    model=st.sampled_from(NAMES),
    work_s=st.sampled_from([0.25, 1.0, 3.0]),
    lane=st.sampled_from(Lane),
)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Draw up to thirty jobs for three models, of which one or two fit, and some never."""
    return Trace(
        "drawn",
        {name: draw(_models) for name in NAMES},
        budget_bytes=4,
        arrivals=draw(st.lists(_arrivals, min_size=1, max_size=30)),
        max_wait_s=4.0,
        batch_max_wait_s=draw(st.sampled_from([4.0, 10.0])),
    )
