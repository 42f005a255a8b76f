"""``python -m app.cli.reference FOLDER``: writes settings.md and routes.md from the code. A test says when they are out of date."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ByteSize, SecretStr

from app.settings import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["main", "pages"]

_SETTINGS = """\
# Settings

Each is `MLX_LOCAL_…` in the environment, or the name without that, in lower case, in `config.toml` of the home (`max_wait = "90s"`);
the environment comes first. An empty variable is unset. A relative path in `config.toml` is relative to that file, one in the
environment to the current folder. A value that cannot be used stops the start with one line that names it, and so does a variable
`MLX_LOCAL_…` that is none of these. Durations are seconds, or `250ms`, `90s`, `30m`, `2h`, `7d`; sizes are bytes, or `512MiB`, `20GB`.

Written by `make docs` from `app/settings.py`.

| variable | type | default | |
|---|---|---|---|
"""
_ROUTES = """\
# Routes

Both ports serve all of them. The scope is that of the key which a request must carry, where keys are needed ([keys.md](keys.md));
of jobs, files and stored responses a key of the scope `inference` has its own. `GET /openapi.json` has every body, answer and error.

Written by `make docs` from the routes.

| route | scope | |
|---|---|---|
"""
_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "whole number",
    str: "text",
    SecretStr: "text",
    Path: "path",
    ByteSize: "size",
    timedelta: "duration",
}
_METHODS = ("get", "post", "put", "patch", "delete")
_UNITS_S = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_UNITS_BYTES = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"), (1, ""))


def pages() -> dict[str, str]:
    """Return file name -> content."""
    settings = "".join(f"{line}\n" for line in _settings())
    routes = "".join(f"{line}\n" for line in _routes())
    return {"settings.md": _SETTINGS + settings, "routes.md": _ROUTES + routes}


def _settings() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        default = "`~/.mlx-server`" if name == "home" else _default(field)
        yield _row(f"`MLX_LOCAL_{name.upper()}`", _type(field.annotation), default, field.description or "")


def _type(kind: Any) -> str:  # noqa: ANN401 - any annotation
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in {Union, UnionType}:
        return _type(next(part for part in arguments if part is not NoneType))
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in arguments)
    if origin is tuple:
        one = _type(arguments[0])
        return "paths, `:` between" if one == "path" else "list, commas between"
    return _WORDS[kind]


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == ():
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, timedelta):
        return f"`{_counted(value.total_seconds(), _UNITS_S)}`"
    if isinstance(value, ByteSize):
        return f"`{_counted(value, _UNITS_BYTES)}`"
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


def _counted(value: float, units: Sequence[tuple[int, str]]) -> str:
    """Return *value* in the largest unit of which it is a whole number."""
    number, unit = next(((value / size, unit) for size, unit in units if value >= size and value % size == 0), (value, units[-1][1]))
    return f"{number:g}{unit}"


def _routes() -> Iterator[str]:
    from app.api.application import create_app
    from app.api.scopes import ROUTES, scope_of

    document = create_app(Settings.model_construct()).openapi()
    told = {
        (method.upper(), path): " ".join(operations[method]["description"].split("\n\n")[0].split())
        for path, operations in document["paths"].items()
        for method in _METHODS
        if method in operations
    }
    told["GET", "/openapi.json"] = "Return the document of the whole API, for generated clients and other tools."
    told["GET", "/dashboard"] = "Show the dashboard, whose pages, forms and news are below this address."
    apart = {route for route in ROUTES if route[1].startswith("/dashboard/")}  # for browsers, and no part of the API
    for method, path in sorted((told.keys() | ROUTES.keys()) - apart, key=lambda route: (route[1], route[0])):
        text = told[method, path].partition(" Needs a key of the scope `")[0]
        yield _row(f"`{method} {path}`", scope_of(method, path) or "none", text)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(arguments: Sequence[str]) -> int:
    """Write the pages into the folder of *arguments*."""
    for name, content in pages().items():
        (Path(arguments[0]) / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
