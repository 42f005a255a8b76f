"""The check of a worker's way to another machine: whether the API there answers and accepts its key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.cli.finding import Finding

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["check_api"]


def check_api(settings: Settings) -> Iterator[Finding]:
    """Check what a worker of another machine needs; nothing in a home that has a stack of its own."""
    if not settings.api_url:
        return
    from app.cli.joining import ask_api
    from app.cli.terminal import CommandError

    try:
        facts = ask_api(settings)
    except CommandError as error:
        yield Finding.failed("api of the jobs", error.message, "Until it is mended, jobs with media wait.")
    else:
        yield Finding.ok("api of the jobs", f"{settings.api_url}, version {facts.version}, accepts the key")
