"""The application: routes, error shapes and what they share, put together for one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from app import __version__
from app.api import audio, completions, embeddings, files, health, jobs, metrics, model_admin, models, ocr, reranking, speech, worker_blobs
from app.api.access import AccessMiddleware
from app.api.anthropic import routes as anthropic
from app.api.batches import routes as batches
from app.api.batches.office import BatchOffice
from app.api.callers import Callers
from app.api.dashboard import actions as dashboard_actions
from app.api.dashboard import routes as dashboard
from app.api.dashboard.board import Board
from app.api.dashboard.session import Sessions
from app.api.errors import install_error_shapes
from app.api.openapi import install_document
from app.api.permits import permit
from app.api.request_log import RequestLogMiddleware
from app.api.responses import routes as responses
from app.api.services import Pace, Services
from app.api.sweeping import sweeping
from app.api.trace_middleware import TraceMiddleware
from app.api.webhooks.office import WebhookOffice
from app.jobs.gateway import JobGateway
from app.jobs.tally import Tally
from app.models.live_catalog import LiveCatalog
from app.settings import Settings
from app.tracing import Traces, open_traces

__all__ = ["create_app"]


def create_app(settings: Settings, *, pace: Pace | None = None) -> FastAPI:
    """Return the application. Its lifespan reads the catalog and connects to the job store.

    Redis may be away when it starts: requests fail with 503 until it is there.

    Args:
        settings: Of this process.
        pace: How long streams may be silent, and when webhooks are tried.

    Raises:
        InvalidSetting: From the lifespan, when the catalog cannot be used.
    """
    tally, traces = Tally(), open_traces(settings, "api")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        gateway = await JobGateway.open(settings)
        try:
            services = app.state.services = Services(settings, LiveCatalog(settings), gateway, pace or Pace(), tally)
            board = app.state.board = Board(settings, gateway)
            async with BatchOffice(services), WebhookOffice(services), sweeping(gateway):
                yield
            board.close()
        finally:
            await gateway.close()
            if traces is not None:
                await asyncio.to_thread(traces.close)

    # No documentation pages: theirs load scripts from the network.
    app = FastAPI(
        title="mlx-local-inference",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(permit)],
    )
    app.state.sessions = Sessions()
    chats = (completions, responses, anthropic)
    parts = (*chats, embeddings, audio, speech, ocr, reranking, models, model_admin, files, batches, jobs, health, metrics, worker_blobs)
    for part in (*parts, dashboard, dashboard_actions):
        app.include_router(part.router)
    app.include_router(model_admin.aliases)
    install_error_shapes(app)
    _guard(app, settings, tally, traces)
    return app


def _guard(app: FastAPI, settings: Settings, tally: Tally, traces: Traces | None) -> None:
    """Put around *app* who is let in, and who notes what was asked."""
    app.state.callers = callers = Callers(settings)
    install_document(app, with_key=lambda: callers.need_keys)
    # The last one added is the outermost.
    app.add_middleware(AccessMiddleware, settings=settings, callers=callers)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,  # outside of the access: a browser's question before a request carries no key
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["*"],
            allow_private_network=True,
        )
    app.add_middleware(RequestLogMiddleware, tally=tally)
    if traces is not None:
        app.add_middleware(TraceMiddleware, traces=traces)
