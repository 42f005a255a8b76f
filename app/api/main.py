"""The API process: one uvicorn server around one application.

``python -m app.api.main --role main`` (or ``audio``) runs one. Both serve every
route; they differ in port and log file alone.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial

import uvicorn
from fastapi import FastAPI

from app import log as logs
from app.api.application import create_app
from app.api.services import Services
from app.errors import InferenceError
from app.internal_key import internal_key
from app.log import get_logger
from app.models.catalog import load_catalog
from app.named_keys import check_exposure
from app.serving import is_service, say_serving
from app.settings import Settings, load_settings

__all__ = ["ApiServer", "main", "serve"]

log = get_logger("api")

_ANSWERS_MAY_TAKE_S = 3.0  # after a stop was asked for; then streams end with an error that says so
_CONNECTIONS_MAY_TAKE_S = 8  # then whatever is still open is cut
_IDLE_CONNECTION_S = 75  # longer than clients keep theirs, so that they and not we close an idle one


class ApiServer(uvicorn.Server):
    """A server that tells its application when it is about to stop."""

    def __init__(self, app: FastAPI, settings: Settings, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=port,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_IDLE_CONNECTION_S,
                timeout_graceful_shutdown=_CONNECTIONS_MAY_TAKE_S,
            ),
        )
        self._app = app
        self.on_serving: Callable[[], object] = lambda: None  # called once it listens

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and to read the catalog again on SIGHUP."""
        await super().startup(sockets)
        self.on_serving()
        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._services.live_catalog.read_again)
        except (RuntimeError, ValueError):
            log.debug("api.no_sighup")  # signals belong to the main thread; this server runs in another

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop within bounded time. Jobs whose callers are cut off go on."""
        asyncio.get_running_loop().call_later(_ANSWERS_MAY_TAKE_S, self._services.stopping.set)
        await super().shutdown(sockets)

    @property
    def _services(self) -> Services:
        services: Services = self._app.state.services
        return services


def serve(settings: Settings, port: int, log_name: str) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: Of this process.
        port: To listen on, at ``settings.host``.
        log_name: Of the file in ``settings.logs_dir``, without ``.log``.

    Returns:
        The process's exit status: 0 after a stop that was asked for.

    Raises:
        InvalidSetting: The catalog cannot be used, or others can reach the address and there is no key.
    """
    logs.configure(settings.log_level, settings.logs_dir / f"{log_name}.log")
    check_exposure(settings)
    internal_key(settings.home)
    load_catalog(settings)  # a wrong catalog stops the start with its own line instead of a traceback of the lifespan
    server = ApiServer(create_app(settings), settings, port)
    if port == settings.port and is_service():
        server.on_serving = partial(say_serving, settings.run_dir)
    # uvicorn raises the signal again when it has shut down; a stop that was asked for is no death.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    try:
        server.run()
    except SystemExit as stop:  # the port is taken, for one; uvicorn has logged the reason
        return int(stop.code or 0)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the API process that the arguments name; a wrong setting is one line on stderr and status 2."""
    parser = argparse.ArgumentParser(prog="python -m app.api.main", description="Serve the HTTP API.")
    parser.add_argument("--role", choices=["main", "audio"], default="main", help="whose port and log file to use")
    role = parser.parse_args(argv).role
    try:
        settings = load_settings()
        if role == "audio":
            return serve(settings, settings.audio_port, "mlx-audio-server.err")
        return serve(settings, settings.port, "server")
    except InferenceError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
