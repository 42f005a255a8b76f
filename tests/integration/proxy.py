"""A way to a server that tests may close: what a network does to those who trust it.

*Stalled*, connections stand and nothing passes, as when packets are lost; what was sent meanwhile arrives later. *Deaf*, requests
pass and answers are lost. *Cut*, connections break, and new ones break at once. The port is held all the while: a port that nobody
has might be given to a client that asks for it, which would then talk to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Literal

__all__ = ["Proxy"]

_PIECE_BYTES = 65_536

_Way = Literal["open", "stalled", "deaf", "cut"]


class Proxy:
    """Passes everything on between clients of a port of this machine and a server, until it is told not to.

    Args:
        target: The server's unix socket, or its port on this machine.
    """

    def __init__(self, target: str | int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._way: _Way = "open"
        self._moving = asyncio.Event()  # not stalled
        self._ended = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="proxy", daemon=True)
        self._thread.start()
        self._ready.wait()

    def restore(self) -> None:
        """Let everything pass; what was stalled goes on."""
        self._turn("open")

    def stall(self) -> None:
        """Hold everything back, both ways."""
        self._turn("stalled")

    def deafen(self) -> None:
        """Let requests pass and lose what is answered."""
        self._turn("deaf")

    def cut(self) -> None:
        """Break every connection, and every new one."""
        self._turn("cut")

    def close(self) -> None:
        """Break every connection and end."""
        self.cut()
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _turn(self, way: _Way) -> None:
        turned = threading.Event()

        def turn() -> None:
            self._way = way
            if way == "stalled":
                self._moving.clear()
            else:
                self._moving.set()
            if way == "cut":
                for writer in self._writers:
                    writer.transport.abort()
            turned.set()

        self._loop.call_soon_threadsafe(turn)
        turned.wait()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._moving.set()
        server = await asyncio.start_server(self._serve, sock=self._listener)
        self._ready.set()
        await self._ended.wait()
        server.close()

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        writers = [client]
        self._writers.add(client)
        try:
            if self._way != "cut":
                server_reader, server = await self._connect()
                writers.append(server)
                self._writers.add(server)
                await asyncio.gather(self._pass(client_reader, server), self._pass(server_reader, client, answers=True))
        except (OSError, asyncio.CancelledError):
            pass  # one side broke it, or the proxy ends: so does the other side
        finally:
            self._writers.difference_update(writers)
            for writer in writers:
                writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, int):
            return await asyncio.open_connection("127.0.0.1", self._target)
        return await asyncio.open_unix_connection(self._target)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            await self._moving.wait()
            if not (answers and self._way == "deaf"):
                writer.write(piece)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
