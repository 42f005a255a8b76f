"""A hub on this machine: what huggingface_hub's client asks of the real one, answered over real sockets.

Large files are behind a redirect to another host name, as on the real hub. It
can refuse, cut off and stall as a test says, and it knows what it has sent.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

__all__ = ["HubServer", "Repo", "tiny_repo"]

COMMIT = "c0ffee" + "0" * 34
_LARGE_BYTES = 1024**2
_PIECE_BYTES = 64 * 1024
_ANSWER_S = 120.0


@dataclass
class Repo:
    """What the hub has under one name, and how it behaves about it."""

    files: Mapping[str, bytes]
    token: str | None = None  # needed for the files, as of a gated repository
    sends_at_most: list[int] = field(default_factory=list)  # bytes of each answer with a large file's content, until the list is empty
    then: str = "cut"  # what happens after so many bytes: cut; stall; or expire: cut, and what was signed before holds no longer


def tiny_repo(folder: Path) -> Repo:
    """Return a repository with the files of *folder*."""
    return Repo({str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()})


class HubServer:
    """Runs inside ``with``. Repositories may be added and changed at any time."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.sent: Counter[str] = Counter()  # bytes of content by file
        self.asked: list[tuple[str, str]] = []  # method and path
        self.tokens: list[tuple[str, str | None]] = []  # host name and the authorization that it was sent
        self.signature = 0  # of the addresses of large files
        self.stalled = threading.Event()  # set once an answer stands still
        self.closing = threading.Event()
        self.lock = threading.Lock()
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="hub", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def endpoint(self) -> str:
        """For ``HF_ENDPOINT``."""
        return f"http://127.0.0.1:{self.port}"

    def lookups(self, repo: str) -> int:
        """Return how often the list of a repository's files was asked for: once for each attempt at a download."""
        return sum(path == f"/api/models/{repo}" for _, path in self.asked)


class _Handler(BaseHTTPRequestHandler):
    server_hub: HubServer
    protocol_version = "HTTP/1.1"
    timeout = _ANSWER_S

    def do_HEAD(self) -> None:
        """Answer without content."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer."""
        hub, path = self.server_hub, unquote(urlsplit(self.path).path)
        with hub.lock:
            hub.asked.append((self.command, path))
            hub.tokens.append((self.headers["Host"].partition(":")[0], self.headers["Authorization"]))
        if path.startswith("/api/models/"):
            self._list(path.removeprefix("/api/models/").partition("/revision/")[0])
        elif path.startswith("/cdn/") and urlsplit(self.path).query != str(hub.signature):
            self._refuse(403, None, "Request has expired")
        elif path.startswith("/cdn/"):
            repo, _, name = path.removeprefix("/cdn/").partition("/-/")
            self._content(repo, name)
        else:
            repo, _, rest = path.strip("/").partition("/resolve/")
            self._resolve(repo, rest.partition("/")[2])

    def _list(self, name: str) -> None:
        repo = self.server_hub.repos.get(name)
        if repo is None:
            # What the real hub says to whoever has no token: it does not tell what is there.
            self._refuse(401, None, "Invalid username or password.")
            return
        siblings = [
            {"rfilename": path, "size": len(content), "blobId": hashlib.sha1(content, usedforsecurity=False).hexdigest()}
            | ({"lfs": {"size": len(content), "sha256": _etag(content), "pointerSize": 134}} if _is_large(content) else {})
            for path, content in repo.files.items()
        ]
        body = json.dumps({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}).encode()
        self._answer(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)

    def _resolve(self, name: str, path: str) -> None:
        repo = self.server_hub.repos.get(name)
        if repo is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif repo.token is not None and self.headers["Authorization"] != f"Bearer {repo.token}":
            self._refuse(401 if self.headers["Authorization"] is None else 403, "GatedRepo", "Access to this model is restricted.")
        elif path not in repo.files:
            self._refuse(404, "EntryNotFound", "Entry not found")
        elif _is_large(content := repo.files[path]):
            linked = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{_etag(content)}"'}
            place = f"http://localhost:{self.server_hub.port}/cdn/{name}/-/{path}?{self.server_hub.signature}"
            self._answer(302, {"Location": place, "X-Repo-Commit": COMMIT, "Content-Length": "0"} | linked)
        else:
            self._content(name, path)

    def _content(self, name: str, path: str) -> None:
        hub = self.server_hub
        repo = hub.repos[name]
        content = repo.files[path]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        etag = _etag(content) if _is_large(content) else hashlib.sha1(content, usedforsecurity=False).hexdigest()
        facts = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes", "Content-Length": str(len(content) - start)}
        if start:
            facts["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._answer(206 if start else 200, facts)
        if self.command == "HEAD":
            return
        with hub.lock:
            limit = repo.sends_at_most.pop(0) if repo.sends_at_most and _is_large(content) else len(content)
        end = min(len(content), start + limit)
        for place in range(start, end, _PIECE_BYTES):
            piece = content[place : min(end, place + _PIECE_BYTES)]
            try:
                self.wfile.write(piece)
            except OSError:  # the client is gone
                self.close_connection = True
                return
            with hub.lock:
                hub.sent[path] += len(piece)
        if end < len(content):
            if repo.then == "expire":
                hub.signature += 1
            if repo.then == "stall":
                hub.stalled.set()
                hub.closing.wait()
            self.close_connection = True

    def _refuse(self, status: int, code: str | None, message: str) -> None:
        self._answer(status, {"Content-Length": "0", "X-Error-Message": message} | ({"X-Error-Code": code} if code else {}))

    def _answer(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


def _is_large(content: bytes) -> bool:
    return len(content) >= _LARGE_BYTES


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
