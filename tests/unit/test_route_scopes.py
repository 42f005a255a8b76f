"""Every route has a scope, and every scope a route."""

from __future__ import annotations

from pathlib import Path

from fastapi.routing import iter_route_contexts

from app.api.application import create_app
from app.api.permits import permit
from app.api.scopes import ROUTES, scope_of
from app.named_keys import Scope
from app.settings import load_settings


def test_the_table_has_the_routes_of_the_application_and_no_others(tmp_path: Path) -> None:
    app = create_app(load_settings(home=tmp_path, profile="starter"))  # both processes serve this one
    served = {(method, route.path_format) for route in iter_route_contexts(app.routes) for method in route.methods or ()}
    assert served - {("HEAD", path) for _, path in served} == set(ROUTES)
    for route in iter_route_contexts(app.routes):
        if route.path_format != "/openapi.json":  # FastAPI's own, which a key of any scope may read
            assert permit in {each.call for each in route.dependant.dependencies}, route.path_format


def test_a_route_that_nobody_thought_of_is_for_administrators() -> None:
    assert scope_of("POST", "/v1/new") is Scope.ADMIN
    assert scope_of("HEAD", "/health") is None
    assert scope_of("DELETE", "/health") is Scope.ADMIN
