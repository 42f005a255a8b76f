"""Which models there are, and which one has which role.

:func:`load_catalog` puts your catalog over the built-in one and gives out the
profile's roles; the :class:`Catalog` then answers what a name means. Nothing
here asks whether a model's files are on this machine (:mod:`app.models.hub`
does), and nothing uses the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from app import machine
from app.errors import InvalidSetting, NoModelForRole, UnknownModel, UnsupportedTask
from app.models.catalog_file import BuiltinFile, CatalogFile, Profile, invalid, read_catalog_file, read_specs
from app.models.names import CatalogConflict, Names
from app.models.spec import ModelSpec, Task
from app.settings import Settings

__all__ = ["ROLES", "Catalog", "load_catalog"]

ROLES: Mapping[str, Task] = MappingProxyType(
    {"chat": Task.CHAT, "embedding": Task.EMBEDDING, "asr": Task.ASR, "ocr": Task.OCR, "tts": Task.TTS, "rerank": Task.RERANK},
)
"""Role name -> what a model must do to have it."""

_BY_ITSELF = frozenset({"rerank"})
"""Roles that profiles do not give out: the only model of the catalog that can have one has it."""

# A picture in a chat that names no model goes to the chat model, if that one sees.
_ROLE_OF_TASK = {task: role for role, task in ROLES.items()} | {Task.VISION: "chat"}

_BUILTIN = Path(__file__).with_name("builtin.toml")


class Catalog:
    """The models of one process, and the roles that the profile gives them.

    Attributes:
        models: Canonical id -> model, in the order of the files.
        roles: Role -> canonical id. A role that no model has is not there.
    """

    models: Mapping[str, ModelSpec]
    roles: Mapping[str, str]

    def __init__(self, models: Mapping[str, ModelSpec], roles: Mapping[str, str]) -> None:
        """Index *models* by every name they have.

        Args:
            models: Canonical id -> model.
            roles: Role -> any name of the model that has it.

        Raises:
            CatalogConflict: A name that two models claim, or a role whose model is unknown or cannot fill it.
        """
        self.models = MappingProxyType(dict(models))
        self._names = Names(self.models.values(), reserved=ROLES)
        self.roles = MappingProxyType({role: self._checked_role(role, name) for role, name in roles.items()})

    def __iter__(self) -> Iterator[ModelSpec]:
        return iter(self.models.values())

    def __len__(self) -> int:
        return len(self.models)

    def get(self, model_id: str) -> ModelSpec:
        """Return the model whose canonical id is *model_id*.

        Raises:
            UnknownModel: No model has that id.
        """
        if model_id not in self.models:
            raise UnknownModel(model_id, self._names.nearest(model_id))
        return self.models[model_id]

    def find(self, name: str) -> ModelSpec:
        """Return the model that *name* means, whatever it can do; otherwise as :meth:`resolve`."""
        role = name.strip().casefold()
        return self._of_role(role) if role in ROLES else self._of_name(name)

    def resolve(self, name: str | None, task: Task) -> ModelSpec:
        """Return the model that *name* means, sure to do *task*.

        Args:
            name: An id, alias, hub name with or without organisation, or role, in any case; None: the role of *task*.
            task: What the caller is about to ask of it.

        Raises:
            UnknownModel: Nothing has this name; the nearest names are told.
            NoModelForRole: The role exists, but this profile gives it to no model.
            UnsupportedTask: The model exists and cannot do *task*.
        """
        spec = self._of_role(_ROLE_OF_TASK.get(task, task.value)) if name is None else self.find(name)
        if not spec.does(task):
            raise UnsupportedTask(spec.id, task.value, [own.value for own in spec.tasks])
        return spec

    def _of_name(self, name: str) -> ModelSpec:
        model_id = self._names.find(name)
        if model_id is None:
            raise UnknownModel(name, self._names.nearest(name))
        return self.models[model_id]

    def _of_role(self, role: str) -> ModelSpec:
        if role in self.roles:
            return self.models[self.roles[role]]
        able = [spec for spec in self if role in {task.value for task in spec.tasks}]
        if role in _BY_ITSELF and len(able) == 1:
            return able[0]
        raise NoModelForRole(role, [spec.id for spec in able])

    def _checked_role(self, role: str, name: str) -> str:
        field = f"roles.{role}"
        if role not in ROLES:
            message = f"there is no such role; the roles are {', '.join(ROLES)}"
            raise CatalogConflict(message, field=field)
        model_id = self._names.find(name)
        if model_id is None:
            near = self._names.nearest(name)
            message = f"no model is called {name!r}" + (f"; did you mean {', '.join(near)}?" if near else "")
            raise CatalogConflict(message, field=field)
        if not self.models[model_id].does(ROLES[role]):
            message = f"the model cannot do {ROLES[role].value!r}"
            raise CatalogConflict(message, field=field, model_id=model_id)
        return model_id


def load_catalog(settings: Settings) -> Catalog:
    """Read the built-in models and ``settings.catalog`` over them, and give out the roles of ``settings.profile``.

    Models that were pulled are added where neither has an entry for them.

    Raises:
        InvalidSetting: One line that names the file, the model and the field; or the profile that does not exist.
    """
    builtin = read_catalog_file(_BUILTIN, BuiltinFile)
    specs, roles, file = read_specs(builtin, _BUILTIN), {}, _BUILTIN
    if settings.catalog is not None:
        file = settings.catalog
        yours = read_catalog_file(file, CatalogFile)
        specs, roles = specs | read_specs(yours, file), yours.roles
    specs = _pulled(settings, specs) | specs
    profile = _chosen_profile(settings.profile, builtin.profile)
    try:
        catalog = Catalog({spec.id: spec for spec in specs.values()}, {**profile.roles, **roles})
    except CatalogConflict as conflict:
        raise invalid(file, str(conflict), model=conflict.model_id, field=conflict.field) from None
    return _with_residents(catalog, profile)


def _pulled(settings: Settings, others: Mapping[str, ModelSpec]) -> dict[str, ModelSpec]:
    """Return the models of the home that none of *others* replaces, by repository or by any name."""
    if not settings.pulled_catalog.is_file():
        return {}
    pulled = read_specs(read_catalog_file(settings.pulled_catalog, CatalogFile), settings.pulled_catalog)
    repos = {spec.repo.casefold() for spec in others.values()}
    names = {name.casefold() for spec in others.values() for name in (spec.id, *spec.aliases)}
    return {key: spec for key, spec in pulled.items() if key not in names and spec.repo.casefold() not in repos}


def _chosen_profile(name: str, profiles: Mapping[str, Profile]) -> Profile:
    wanted = name.strip().casefold()
    if wanted == "auto":
        wanted = machine.auto_profile(machine.detect())
    if wanted not in profiles:
        text = f"MLX_LOCAL_PROFILE: there is no profile {name!r}; choose auto, {', '.join(profiles)}"
        raise InvalidSetting(text, param="profile")
    return profiles[wanted]


def _with_residents(catalog: Catalog, profile: Profile) -> Catalog:
    """Make the models of the profile's resident roles resident, where their entries do not say otherwise."""
    models = dict(catalog.models)
    for role in profile.resident:
        spec = models.get(catalog.roles.get(role, ""))
        if spec is not None and "residency" not in spec.model_fields_set:
            models[spec.id] = spec.model_copy(update={"residency": "always"})
    return Catalog(models, catalog.roles)
