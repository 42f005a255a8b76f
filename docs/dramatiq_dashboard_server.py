"""Serves dramatiq-dashboard over our queues, on this machine alone. docs/dashboards.md says how to install it.

Usage: python docs/dramatiq_dashboard_server.py [PORT]

It shows the queues that its own process has declared, so each request declares those that are new.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import make_server

from dramatiq_dashboard import DashboardApp

from app.jobs.broker import InferenceBroker
from app.jobs.keys import QUEUES
from app.settings import load_settings


def main(port: int) -> None:
    """Serve until Ctrl-C."""
    broker = InferenceBroker(load_settings(), broker_id="dashboard")
    dashboard = DashboardApp(broker=broker, prefix="")

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        for name in broker.client.smembers(QUEUES):
            broker.declare_queue(name.decode())
        return dashboard(environ, start_response)

    with make_server("127.0.0.1", port, app) as server:
        sys.stderr.write(f"http://127.0.0.1:{server.server_port}/\n")
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8790)
