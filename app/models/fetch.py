"""One attempt at fetching a repository, as a process of its own: ``python -m app.models.fetch REPO KEEP_FREE_BYTES``.

It prints JSON lines: ``{"total": bytes, "done": bytes, "checked": bytes}`` as the files grow, and at the end ``{"path": ...}`` or
``{"error": {code, message, param}, "retry": bool}``. It ends with its parent: when standard input closes.

The files go into the usual hub cache, in the library's own layout and under its locks. A large file is written to
``blobs/ETAG.incomplete`` and taken up there by the next attempt: huggingface_hub itself begins such a file anew, and so
does xet, which is why the bytes come by plain HTTP. Nothing here retries beyond what the library does, and nothing
notices a stall: :mod:`app.models.download` does both.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]  # public, though not in an __all__

from app.errors import DownloadFailed
from app.models.download_errors import InsufficientDisk
from app.models.fetch_errors import explained
from app.models.hub import hub_cache
from app.models.repo_files import RepoFile, in_order, wanted

__all__ = ["Repository", "main"]

_SAY_EVERY_S = 0.25
_LARGE_BYTES = 4 * 1024**2  # from here on a file is worth being taken up in its middle
_CHUNK_BYTES = 256 * 1024
_DIGEST_BYTES = 8 * 1024**2
_ANSWER_S = 10.0
_AT_ONCE = 4
_SHA256_DIGITS = 64
_ETAG = re.compile(r"[\w-]+")


class Repository:
    """A repository of the hub at the commit that ``main`` names now.

    Args:
        repo: Its name, ``organisation/name``.

    Raises:
        DownloadFailed: It is not there or holds no model. Also what httpx2 and huggingface_hub raise.
    """

    def __init__(self, repo: str) -> None:
        self.repo = repo
        info = HfApi().model_info(repo, files_metadata=True, timeout=_ANSWER_S)
        self.commit = str(info.sha)
        self.folder = hub_cache() / repo_folder_name(repo_id=repo, repo_type="model")
        listed = [
            RepoFile(found.rfilename, found.size or 0, found.lfs["sha256"] if found.lfs else str(found.blob_id))
            for found in info.siblings or ()
        ]
        if not all(_ETAG.fullmatch(file.etag) for file in listed):
            msg = f"{constants.ENDPOINT} names files of {repo!r} in a way that is no file name; look at HF_ENDPOINT."
            raise DownloadFailed(msg)
        self.files = wanted(listed)
        if not self.files:
            msg = f"{repo!r} has no safetensors, so no engine can load it; name a repository in MLX or safetensors format."
            raise DownloadFailed(msg, param="model")
        self.total_bytes = sum(file.size_bytes for file in self.files)
        self.checked_bytes = 0  # of files whose content was compared with what the hub says: work too, though no byte comes

    @property
    def snapshot(self) -> Path:
        """The directory that a complete model has in the cache."""
        return self.folder / "snapshots" / self.commit

    def here_bytes(self) -> int:
        """Return how many bytes of the files are on this machine, those of cut-off downloads included."""
        return sum(self._here(file) for file in self.files)

    def check_disk(self, keep_free_bytes: int) -> None:
        """Raise :class:`InsufficientDisk` where what is missing does not fit."""
        hub_cache().mkdir(parents=True, exist_ok=True)
        need, free = self.total_bytes - self.here_bytes(), shutil.disk_usage(hub_cache()).free
        if need and free - need < keep_free_bytes:
            raise InsufficientDisk(self.repo, need, free, keep_free_bytes, str(hub_cache()))

    def fetch(self) -> None:
        """Fetch what is missing, then let ``main`` name this commit."""
        for group in in_order(self.files):
            threads = ThreadPoolExecutor(_AT_ONCE)
            try:
                for done in as_completed([threads.submit(self._fetch, file) for file in group]):
                    done.result()
            finally:
                threads.shutdown(wait=False, cancel_futures=True)  # after an error the others need not come to their end
        reference = self.folder / "refs" / "main"
        reference.parent.mkdir(parents=True, exist_ok=True)
        fresh = reference.with_name(f"main.{os.getpid()}")
        fresh.write_text(self.commit, encoding="utf-8")
        fresh.replace(reference)

    def _fetch(self, file: RepoFile) -> None:
        if file.size_bytes >= _LARGE_BYTES and not (self.snapshot / file.path).exists():
            self._fetch_large(file)
        hf_hub_download(self.repo, file.path, revision=self.commit, cache_dir=hub_cache())  # links what is there

    def _fetch_large(self, file: RepoFile) -> None:
        lock = hub_cache() / ".locks" / self.folder.name / f"{file.etag}.lock"
        for folder in (lock.parent, self._blob(file).parent):
            folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not self._blob(file).exists():
                partial = self._partial(file)
                had_bytes = partial.stat().st_size if partial.exists() else 0
                if had_bytes > file.size_bytes:
                    partial.unlink()
                    had_bytes = 0
                self._append(file, partial, had_bytes)
                if had_bytes and len(file.etag) == _SHA256_DIGITS:
                    self._check_digest(partial, file)
                partial.replace(self._blob(file))

    def _append(self, file: RepoFile, partial: Path, had_bytes: int) -> None:
        url = hf_hub_url(self.repo, file.path, revision=self.commit)
        location = get_hf_file_metadata(url, timeout=_ANSWER_S).location
        headers = build_hf_headers()
        if urlsplit(location).netloc != urlsplit(url).netloc:
            headers.pop("authorization", None)  # the address is signed, and its host need not know the token
        with partial.open("ab") as out:
            http_get(location, out, resume_size=had_bytes, headers=headers, expected_size=file.size_bytes)

    def _check_digest(self, partial: Path, file: RepoFile) -> None:
        """Refuse a file put together from several connections whose content is not what the hub says."""
        digest = hashlib.sha256()
        with partial.open("rb") as content:
            while piece := content.read(_DIGEST_BYTES):
                digest.update(piece)
                self.checked_bytes += len(piece)
        if digest.hexdigest() != file.etag:
            partial.unlink()
            msg = f"{file.path} came with other content than the hub says it has (its sha256 differs), and was thrown away"
            raise OSError(msg)

    def _here(self, file: RepoFile) -> int:
        if (self.snapshot / file.path).exists() or self._blob(file).exists():
            return file.size_bytes
        # The library's own files of this kind carry a random word; another tool may be at it now.
        parts = self._blob(file).parent.glob(f"{file.etag}*.incomplete")
        return min(file.size_bytes, max((_size(part) for part in parts), default=0))

    def _blob(self, file: RepoFile) -> Path:
        return self.folder / "blobs" / file.etag

    def _partial(self, file: RepoFile) -> Path:
        return self.folder / "blobs" / f"{file.etag}.incomplete"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # complete, and renamed, a moment ago
        return 0


def _say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _saying_how_far(repository: Repository) -> Iterator[None]:
    """Say how many bytes are here, again and again until the block ends: what is said is what lies on the disk."""
    over = threading.Event()

    def say() -> None:
        _say(total=repository.total_bytes, done=repository.here_bytes(), checked=repository.checked_bytes)

    def go_on() -> None:
        while not over.wait(_SAY_EVERY_S):
            say()

    thread = threading.Thread(target=go_on)
    say()
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _end_with_parent() -> None:
    """End at once when standard input closes: whoever wanted the files is gone."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: Sequence[str]) -> int:
    """Fetch as the command line says; return the exit code."""
    repo, keep_free_bytes = arguments[0], int(arguments[1])
    _end_with_parent()
    # The library hands over ten megabytes at a time. Until then nothing is on the disk: a slow line would look like a dead one.
    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK_BYTES
    try:
        repository = Repository(repo)
        repository.check_disk(keep_free_bytes)
        with _saying_how_far(repository):
            repository.fetch()
    except Exception as error:  # noqa: BLE001 - the process boundary: the parent wants a sentence, whatever it was
        failure, retry = explained(error, repo, str(hub_cache()))
        _say(error=failure.as_fact().model_dump(), retry=retry)
        return 1
    _say(total=repository.total_bytes, done=repository.total_bytes, checked=0)
    _say(path=str(repository.snapshot))
    return 0


if __name__ == "__main__":
    # At once: threads that still wait for a socket are not waited for.
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
