"""Which names mean which model.

Ids and aliases are unique or the catalog is refused. A hub name, with or
without its organisation, is a name too, but only while exactly one model comes
from there: two models of one repository are then told apart by their ids. So a
name means one model, always. Case never matters.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable

from app.models.spec import ModelSpec

__all__ = ["CatalogConflict", "Names"]


class CatalogConflict(ValueError):
    """What cannot be in one catalog. ``field`` and, where one is at fault, ``model_id`` say where."""

    def __init__(self, message: str, *, field: str, model_id: str = "") -> None:
        super().__init__(message)
        self.model_id = model_id
        self.field = field


class Names:
    """Every name of some models, casefolded, and the canonical id that each one means."""

    def __init__(self, models: Iterable[ModelSpec], reserved: Collection[str]) -> None:
        """Index *models*.

        Args:
            models: In the order in which they claim names.
            reserved: Names that no model may have.

        Raises:
            CatalogConflict: An id or alias is reserved or already another model's.
        """
        specs = list(models)
        self._reserved = frozenset(name.casefold() for name in reserved)
        self._ids: dict[str, str] = {}
        for spec in specs:
            self._claim(spec.id, spec, "id")
        for spec in specs:
            for alias in spec.aliases:
                self._claim(alias, spec, "aliases")
        implied = [(name, spec.id) for spec in specs for name in _implied(spec)]
        claims = Counter(name for name, _ in implied)
        for name, model_id in implied:
            if claims[name] == 1 and name not in self._reserved:
                self._ids.setdefault(name, model_id)

    def find(self, name: str) -> str | None:
        """Return the canonical id that *name* means, None when it means nothing."""
        return self._ids.get(name.strip().casefold())

    def nearest(self, name: str) -> list[str]:
        """Return up to three ids or reserved names that *name* may have meant, nearest first."""
        wanted = name.strip().casefold()
        known = {reserved: reserved for reserved in sorted(self._reserved)} | dict(self._ids)
        found = difflib.get_close_matches(wanted, known, n=6, cutoff=0.7)
        if "/" in wanted:  # the organisation is often the part that is wrong
            found += difflib.get_close_matches(wanted.rpartition("/")[2], known, n=6, cutoff=0.7)
        return list(dict.fromkeys(known[near] for near in found))[:3]

    def _claim(self, name: str, spec: ModelSpec, field: str) -> None:
        key = name.strip().casefold()
        if not key or key in self._reserved:
            message = f"{name!r} is the name of a role" if key else "a name is empty"
            raise CatalogConflict(message, field=field, model_id=spec.id)
        if self._ids.setdefault(key, spec.id) != spec.id:
            message = f"{name!r} already names the model {self._ids[key]!r}"
            raise CatalogConflict(message, field=field, model_id=spec.id)


def _implied(spec: ModelSpec) -> set[str]:
    """Return the names that follow from the repository; a directory gives none."""
    if spec.directory is not None:
        return set()
    whole = spec.repo.casefold()
    return {whole, whole.rpartition("/")[2]}
