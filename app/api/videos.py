"""Videos in a chat: each is fetched or decoded here, its frames are taken, and these are kept in the spool. The video is not."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from app.apart.watching import Stopped
from app.api.errors import ServerStopping
from app.api.forms import file_pieces
from app.api.services import Services
from app.pictures.data_uri import is_data_uri, read_data_uri
from app.pictures.fetching import fetch
from app.pictures.media import VIDEO
from app.pictures.video import take_frames

__all__ = ["held_frames"]


async def held_frames(services: Services, address: str, *, holder: str) -> str:
    """Return the name of the blob that the frames of the video at *address* have become.

    Raises:
        UnreadableVideo: It is none, or is broken, or too long.
        VideoTooLarge: It has too many bytes.
        VideoNotFetched: It cannot be had from its address.
        ServerStopping: This process ends.
    """
    settings = services.settings
    most_bytes = int(settings.max_video)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "video", Path(folder) / "frames"
        if is_data_uri(address):
            content = await asyncio.to_thread(read_data_uri, address, most_bytes, VIDEO)
            await asyncio.to_thread(source.write_bytes, content)
        else:
            timeout_s = settings.video_timeout.total_seconds()
            await fetch(address, source, max_bytes=most_bytes, timeout_s=timeout_s, private=settings.private_pictures, medium=VIDEO)
        async with services.watching:
            longest_s = settings.max_video_length.total_seconds()
            try:
                await asyncio.to_thread(take_frames, source, target, longest_s=longest_s, should_stop=services.stopping.is_set)
            except Stopped:
                raise ServerStopping(submitted=False) from None
        return await services.gateway.hold(file_pieces(target), holder=holder)
