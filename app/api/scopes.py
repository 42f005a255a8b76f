"""Which route needs which scope. Every route is in this one table; a test walks the application and finds what is not."""

from __future__ import annotations

from collections.abc import Mapping

from app.named_keys import Scope

__all__ = ["KEYLESS", "ROUTES", "needs_no_key", "scope_of"]

KEYLESS = frozenset({"/health", "/dashboard/key", "/dashboard/static/{name}"})
"""Paths that need no key: whether somebody is here, and what a browser needs to show one."""

_INFERENCE = """
GET    /ready
GET    /metrics
GET    /openapi.json
POST   /v1/chat/completions
POST   /v1/completions
POST   /v1/responses
POST   /v1/responses/input_tokens
GET    /v1/responses/{response_id}
POST   /v1/responses/{response_id}/cancel
DELETE /v1/responses/{response_id}
GET    /v1/responses/{response_id}/input_items
POST   /v1/messages
POST   /v1/messages/count_tokens
POST   /v1/embeddings
POST   /v1/audio/transcriptions
POST   /v1/audio/translations
POST   /v1/audio/speech
GET    /v1/audio/voices
POST   /v1/ocr
POST   /v2/rerank
POST   /rerank
POST   /v1/rerank
GET    /v1/models
GET    /v1/models/{name}
POST   /v1/files
GET    /v1/files
GET    /v1/files/{file_id}
GET    /v1/files/{file_id}/content
DELETE /v1/files/{file_id}
POST   /v1/batches
GET    /v1/batches
GET    /v1/batches/{batch_id}
POST   /v1/batches/{batch_id}/cancel
POST   /v1/jobs
GET    /v1/jobs
GET    /v1/jobs/{job_id}
GET    /v1/jobs/{job_id}/output
POST   /v1/jobs/{job_id}/cancel
POST   /v1/jobs/{job_id}/retry
GET    /v1/jobs/{job_id}/events
"""

_ADMIN = """
POST   /v1/models/{name}/load
POST   /v1/models/{name}/unload
POST   /v1/models/{name}/pull
DELETE /v1/models
DELETE /v1/models/{name}
GET    /v1/admin/models
GET    /v1/admin/models/{name}/stats
POST   /v1/admin/models/{name}/load
POST   /v1/admin/models/{name}/unload
GET    /dashboard
GET    /dashboard/head/events
GET    /dashboard/events
GET    /dashboard/jobs
GET    /dashboard/jobs/events
GET    /dashboard/jobs/{job_id}
GET    /dashboard/jobs/{job_id}/events
GET    /dashboard/jobs/{job_id}/output
GET    /dashboard/new
POST   /dashboard/jobs
POST   /dashboard/jobs/{job_id}/cancel
POST   /dashboard/jobs/{job_id}/retry
POST   /dashboard/leave
"""

_WORKER = """
GET    /v1/worker
GET    /v1/worker/blobs/{blob}
PUT    /v1/worker/blobs/{blob}
PUT    /v1/worker/blobs/{blob}/holders/{holder}
"""


def _table() -> dict[tuple[str, str], Scope | None]:
    table: dict[tuple[str, str], Scope | None] = {("POST", "/dashboard/key"): None}
    table.update((("GET", path), None) for path in KEYLESS)
    for scope, lines in ((Scope.INFERENCE, _INFERENCE), (Scope.ADMIN, _ADMIN), (Scope.WORKER, _WORKER)):
        for line in lines.strip().splitlines():
            method, path = line.split()
            table[method, path] = scope
    return table


ROUTES: Mapping[tuple[str, str], Scope | None] = _table()
"""Method and path -> scope; None: it needs no key."""


def needs_no_key(path: str) -> bool:
    """Return whether the path of a request, not of a route, is one of :data:`KEYLESS`."""
    return path in KEYLESS or path.startswith("/dashboard/static/")


def scope_of(method: str, path: str) -> Scope | None:
    """Return what a route needs. HEAD is as GET, and what nobody thought of is for those who may do everything."""
    return ROUTES.get(("GET" if method == "HEAD" else method, path), Scope.ADMIN)
