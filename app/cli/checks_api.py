"""Checks of a worker's way to another machine: that the API there answers, accepts its key, and what the clocks say."""

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
    from redis import RedisError

    from app.cli.joining import ask_api, clock_offset_s, tell_clock
    from app.cli.terminal import CommandError
    from app.errors import InvalidSetting

    try:
        facts = ask_api(settings)
    except CommandError as error:
        yield Finding.failed("api of the jobs", error.message, "Until it is mended, jobs with media wait.")
    else:
        yield Finding.ok("api of the jobs", f"{settings.api_url}, version {facts.version}, accepts the key")
    warnings: list[str] = []
    try:
        tell_clock(clock_offset_s(settings), warnings.append)
    except (RedisError, InvalidSetting):
        return  # told by the check of Redis
    if warnings:
        yield Finding.warning("clock", warnings[0].removeprefix("Warning: "), "Jobs are timed by the clock of Redis all the same.")
