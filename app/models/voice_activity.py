"""Where the weights are that find speech in a recording: Silero's. Never the network.

They serve whatever model writes speech down, so they are no model of the catalog.
``mlx-local up`` fetches them with the starter models, and what another tool has of
them in the hub cache is found. Without them speech is found by its energy.
"""

from __future__ import annotations

from pathlib import Path

from app.models.hub import locate
from app.models.spec import ModelSpec, Task
from app.settings import Settings

__all__ = ["SILERO", "silero_directory"]

SILERO = ModelSpec(id="silero-vad", repo="mlx-community/silero-vad", tasks=(Task.ASR,))


def silero_directory(settings: Settings) -> Path | None:
    """Return the folder of Silero's weights; None where they are not on this machine."""
    return locate(SILERO, settings)
