"""The command ``mlx-local`` as its users run it: in a process of its own, judged by output and exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from app.settings import Settings

COMMAND = (sys.executable, "-P", "-m", "app.cli.main")


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """Return an environment that says what *settings* do, with nothing of the user's settings in it."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MLX_LOCAL_", "MLX_SUPERVISOR"))}
    said = {"HOME": str(settings.home), "PORT": str(settings.port), "AUDIO_PORT": str(settings.audio_port), "PROFILE": settings.profile}
    said |= {"ON_BATTERY": "all", "ON_LOW_POWER": "all"}  # a laptop's tests do not wait for its charger
    if settings.redis_url:
        said["REDIS_URL"] = settings.redis_url
    if settings.catalog:
        said["CATALOG"] = str(settings.catalog)
    if settings.api_key:
        said["API_KEY"] = settings.api_key.get_secret_value()
    return {**plain, **{f"MLX_LOCAL_{name}": value for name, value in said.items()}, **more}


def mlx_local(settings: Settings, *words: str, stdin: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. No command may ever show a traceback."""
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    done = subprocess.run([*COMMAND, *words], env=environment(settings, **more), capture_output=True, text=True, check=False, **given)
    assert "Traceback" not in done.stderr
    return done
