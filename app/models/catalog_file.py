"""One catalog file: read, checked, and every directory in it made absolute.

What is wrong is said in one line that names the file, the model and the field.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from app.errors import InvalidSetting
from app.models.spec import ModelSpec

__all__ = ["BuiltinFile", "CatalogFile", "Profile", "invalid", "is_hub_name", "read_catalog_file", "read_specs"]

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

Roles = dict[str, Annotated[str, Field(min_length=1)]]


class CatalogFile(BaseModel, frozen=True, extra="forbid"):
    """The tables of a catalog. Its models are checked one by one (:func:`read_specs`), to name the one at fault."""

    model: tuple[dict[str, Any], ...] = ()
    roles: Roles = Field(default_factory=dict)


class Profile(BaseModel, frozen=True, extra="forbid"):
    """A ``[profile.NAME]``: the roles it gives, and those whose models are resident from the start."""

    roles: Roles
    resident: tuple[str, ...] = ()


class BuiltinFile(CatalogFile, frozen=True, extra="forbid"):
    """The catalog that comes with the software has the profiles as well."""

    profile: dict[str, Profile]


FileT = TypeVar("FileT", bound=CatalogFile)


def read_catalog_file(file: Path, kind: type[FileT]) -> FileT:
    """Read *file*.

    Raises:
        InvalidSetting: It cannot be read, is not TOML, or has a table or key that does not belong.
    """
    try:
        return kind.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise invalid(file, error.strerror or str(error)) from None
    except ValidationError as error:
        raise invalid(file, _reason(error), field=_where(error)) from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise invalid(file, str(error)) from None


def read_specs(content: CatalogFile, file: Path) -> dict[str, ModelSpec]:
    """Check the models of *content*.

    Returns:
        Casefolded id -> model.

    Raises:
        InvalidSetting: A model has a wrong field, or two have the same id.
    """
    specs: dict[str, ModelSpec] = {}
    for position, entry in enumerate(content.model, 1):
        label = str(entry.get("id") or f"number {position}")
        try:
            spec = ModelSpec.model_validate(entry)
        except ValidationError as error:
            raise invalid(file, _reason(error), model=label, field=_where(error)) from None
        if spec.id.casefold() in specs:
            raise invalid(file, "another model of this file has the same id", model=label, field="id")
        specs[spec.id.casefold()] = _rooted(spec, file)
    return specs


def is_hub_name(name: str) -> bool:
    """Return whether *name* has the form of a repository of the hub: ``organisation/name``."""
    return bool(_HUB_NAME.fullmatch(name))


def invalid(file: Path, message: str, *, model: str = "", field: str = "") -> InvalidSetting:
    """Return the one-line error about *file*."""
    parts = [f"catalog {file}", *([f"model {model!r}"] if model else []), *([f"field {field!r}"] if field else [])]
    return InvalidSetting(f"{', '.join(parts)}: {' '.join(message.split())}", param="catalog")


def _rooted(spec: ModelSpec, file: Path) -> ModelSpec:
    """Make a directory absolute, relative ones from the file's folder; a hub name stays as it is."""
    path = Path(spec.repo).expanduser()
    if not path.is_absolute():
        path = file.absolute().parent / path
    if spec.repo.startswith(("/", "~", "./", "../")) or path.is_dir():
        return spec.model_copy(update={"repo": str(path.resolve())})
    if not is_hub_name(spec.repo):
        text = f"{spec.repo!r} is neither a hub name (organisation/name) nor a directory ({path})"
        raise invalid(file, text, model=spec.id, field="repo")
    return spec


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    got = "" if first["type"] in {"missing", "extra_forbidden"} else f" (got {first['input']!r})"
    return str(first["msg"]).removeprefix("Value error, ") + got


def _where(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.errors()[0]["loc"])
