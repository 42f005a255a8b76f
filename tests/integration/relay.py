"""A relay between a client and a server, for networks that fail: it cuts, breaks off, damages, holds back, or passes nothing on."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Relay"]

_PIECE_BYTES = 65536


class Relay:
    """Listens on a free port of this machine, and passes what comes on to a port or a socket.

    Args:
        target: The server.
        tls: Speak TLS with clients; the server hears plain text.
    """

    def __init__(self, target: int | Path, tls: ssl.SSLContext | None = None) -> None:
        self.tried = threading.Event()  # somebody connected since this was cleared
        self.asked_bytes = 0  # passed on to the server
        self.answered_bytes = 0  # passed on to clients
        self.break_after_bytes: int | None = None  # of answers; then one connection is broken off
        self.damage_next = False  # one answer of more than a piece
        self.deaf_to: bytes | None = None  # a request with this arrives, and neither its answer nor any later one of its connection
        self._target = target
        self._open = True
        self._stalled = False
        self._moving = asyncio.Event()
        self._moving.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay")
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._meet, "127.0.0.1", 0, ssl=tls))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Break every connection off, and listen no more."""
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Break every connection off, and each new one at once."""
        self._open = False
        self._run(self._break_off())

    def stall(self) -> None:
        """Take everything from now on and pass nothing on: neither side learns that the other is gone."""
        self._stalled = True

    def hold(self) -> None:
        """Hold back what comes from now on; it arrives once the relay is mended, as after a time in which packets are lost."""
        self._run(self._move(moving=False))

    def mend(self) -> None:
        """Let new connections pass, and what was held back. Those that were stalled stay so."""
        self._open, self._stalled, self.deaf_to = True, False, None
        self._run(self._move(moving=True))

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _move(self, *, moving: bool) -> None:
        if moving:
            self._moving.set()
        else:
            self._moving.clear()

    async def _shut(self) -> None:
        self._server.close()
        await self._break_off()

    async def _break_off(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tried.set()
        task = asyncio.current_task()
        assert task
        self._pumps.add(task)
        there: asyncio.StreamWriter | None = None
        try:
            if not self._open:
                return
            if isinstance(self._target, Path):
                answers, there = await asyncio.open_unix_connection(self._target)
            else:
                answers, there = await asyncio.open_connection("127.0.0.1", self._target)
            deaf = asyncio.Event()
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, there, deaf, answers=False))
                both.create_task(self._pass(answers, writer, deaf, answers=True))
        except* (OSError, _BrokenOff):
            pass
        except* asyncio.CancelledError:
            pass
        finally:
            self._pumps.discard(task)
            for end in (writer, *((there,) if there else ())):
                with contextlib.suppress(OSError):
                    end.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, deaf: asyncio.Event, *, answers: bool) -> None:
        lost = False
        while piece := await source.read(_PIECE_BYTES):
            await self._moving.wait()
            lost = lost or self._stalled or (answers and deaf.is_set())
            if lost:
                continue
            if answers:
                self.answered_bytes += len(piece)
                if self.break_after_bytes is not None and self.answered_bytes > self.break_after_bytes:
                    self.break_after_bytes = None
                    raise _BrokenOff
                if self.damage_next and len(piece) > _PIECE_BYTES // 4:
                    self.damage_next = False
                    piece = piece[:-1] + bytes([piece[-1] ^ 1])
            else:
                self.asked_bytes += len(piece)
                if self.deaf_to is not None and self.deaf_to in piece:
                    deaf.set()
            sink.write(piece)
            await sink.drain()
        raise _BrokenOff  # one side has closed, so the other is closed too


class _BrokenOff(Exception):
    """The connection ends here."""
