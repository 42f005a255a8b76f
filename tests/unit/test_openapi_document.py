"""The OpenAPI document is valid and leaves nothing out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from app.api.application import create_app
from app.api.dashboard.session import is_page
from app.api.dialects import dialect_of
from app.api.errors import STATUS
from app.settings import load_settings


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(load_settings(home=tmp_path, profile="starter"))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_it_is_valid_openapi_3_1(app: FastAPI) -> None:
    assert app.openapi()["openapi"].startswith("3.1.")
    validate(app.openapi(), cls=OpenAPIV31SpecValidator)


def test_it_has_every_route_of_the_application_but_pages_and_says_what_each_does(app: FastAPI) -> None:
    document = app.openapi()
    served = {
        (method, route.path_format)
        for route in iter_route_contexts(app.routes)
        for method in route.methods or ()
        if method != "HEAD" and route.path_format != "/openapi.json" and not is_page(str(route.path_format))
    }
    assert {(method, path) for method, path, _ in operations(document)} == served
    for method, path, operation in operations(document):
        assert operation["summary"], (method, path)
        assert operation["description"].endswith("."), (method, path)


def test_every_body_and_success_has_a_schema_and_every_error_the_shape_of_its_path(app: FastAPI) -> None:
    document = app.openapi()
    for method, path, operation in operations(document):
        if path.startswith("/v1/") and method == "POST" and "{" not in path:
            assert "requestBody" in operation, path
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                assert content["schema"], (method, path, status)
                if int(status) >= 400:
                    assert media_type == dialect_of(path).media_type
            assert response.get("content") or status == "204", (method, path, status)


def test_every_component_is_used_and_every_code_has_the_status_that_the_table_gives_it(app: FastAPI) -> None:
    document = app.openapi()
    text = str(document)
    for part in ("schemas", "parameters", "headers"):
        for name in document["components"][part]:
            assert f"'#/components/{part}/{name}'" in text, name
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                codes = response["description"].replace("`", "").split(", ")
                assert {STATUS[code] for code in codes} == {int(status)}, (method, path)
