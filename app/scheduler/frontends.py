"""Frontends for those who need no weights: a tokenizer and a template say how long a prompt is.

A model in memory lends its own. Of others the last few are kept: opening one takes
a second or so, and a caller who asks how long a conversation is asks again.
Nothing is loaded, no model is waited for, and no lease is taken.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from app.engines.registry import open_frontend
from app.errors import ModelNotDownloaded
from app.models.hub import locate
from app.models.voice_activity import silero_directory

if TYPE_CHECKING:
    from app.engines.protocols import Frontend
    from app.models.spec import ModelSpec
    from app.scheduler.breadcrumb import Preparing
    from app.scheduler.residency import Residency
    from app.settings import Settings

__all__ = ["Frontends"]

_KEPT = 2  # vocabularies take their room, and few models are asked about in turn


class Frontends:
    """Thread-safe.

    Args:
        residency: Has those of models in memory.
        settings: Say where models are.
        preparing: Told whose wish a tokenizer is opened for: that may kill the process.
    """

    def __init__(self, residency: Residency, settings: Settings, preparing: Preparing) -> None:
        self._residency = residency
        self._settings = settings
        self._preparing = preparing
        self._kept: OrderedDict[tuple[ModelSpec, Path], Frontend] = OrderedDict()
        self._opening = threading.Lock()

    def of(self, spec: ModelSpec, wanted_by: str) -> Frontend:
        """Return the frontend of *spec*'s model. Whoever comes while one is being opened waits for it.

        Args:
            spec: The model.
            wanted_by: Work id that is charged if the opening kills the process.

        Raises:
            ModelNotDownloaded: Its files are not on this machine.
            ModelLoadFailed: They are, and are no model that can be served.
        """
        resident = self._residency.frontend(spec.id)
        if resident is not None:
            return resident
        directory = locate(spec, self._settings)
        if directory is None:
            raise ModelNotDownloaded(spec.id)
        with self._opening:
            place = (spec, directory)
            if place not in self._kept:
                with self._preparing.naming(wanted_by):
                    self._kept[place] = open_frontend(spec, directory, silero_directory(self._settings))
            self._kept.move_to_end(place)
            found = self._kept[place]
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found
