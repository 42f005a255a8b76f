"""An API as it is started by users: a process of its own, with a log file."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import httpx

from app.settings import Settings

__all__ = ["Process"]


class Process:
    """``python -m app.api.main`` on a free port."""

    def __init__(self, settings: Settings, **more: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        keep = {name: value for name, value in os.environ.items() if not name.startswith("MLX_LOCAL_")}
        mine = {"HOME": settings.home, "REDIS_URL": settings.redis_url, "CATALOG": settings.catalog, "PORT": self.port}
        environment = {**keep, **{f"MLX_LOCAL_{name}": str(value) for name, value in mine.items()}}
        environment |= {"MLX_LOCAL_PROFILE": "starter", "MLX_LOCAL_MIN_FREE_DISK": "0", **more}
        self.child = subprocess.Popen([sys.executable, "-m", "app.api.main"], env=environment, stderr=subprocess.PIPE, text=True)
        transport = httpx.HTTPTransport(retries=8)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", transport=transport, timeout=60, trust_env=False)
        self.log = settings.logs_dir / "server.log"

    def close(self) -> None:
        self.http.close()
        self.child.kill()
        self.child.communicate()
