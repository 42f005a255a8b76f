"""Random scripts against the daemon: files come, grow, move, are copied, replaced and deleted, and processes die, at random moments.

A script knows what it put where, and what of that it took away again. What the
daemon does meanwhile it cannot know: a file that is to be deleted may have
been archived a moment ago. So it counts what an operation really did.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import IO

from daemon.front_matter import read_head
from tests.integration.daemon_process import DaemonProcess, until
from tests.transcript_server import TranscriptServer, heard_of, mended_of

__all__ = ["Chaos"]

_NAMES = ("a.wav", "a.mp3", "b.m4a", "talks/a.wav", "talks/第二 講.ogg", "c.flac", "talks/deep/d.webm")
_NUMBER = re.compile(r" \(\d+\)(?=\.\w+$)")
_STEPS = 18

Key = tuple[str, str]
"""Where a recording was dropped, and the hash of its content."""


class Chaos:
    """One script."""

    def __init__(self, seed: int, place: Path) -> None:
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrets
        self._folder = place / "in"
        self._folder.mkdir()
        self._outside = place / "outside"
        self._outside.mkdir()
        self._server = TranscriptServer(takes_s=self._random.choice([0.0, 0.1, 0.4]), loses=self._random.choice([0.0, 0.1]), seed=seed)
        self._daemon = DaemonProcess(place / "home", self._folder, self._server, TRANSCRIBE_RESCAN="1")
        self._here: dict[Path, bytes] = {}  # as the script left it
        self._growing: dict[Path, tuple[IO[bytes], bytes]] = {}
        self._sure: Counter[bytes] = Counter()  # recordings that must be there at the end
        self._perhaps: Counter[bytes] = Counter()  # that may be: replaced, unless they were archived right before
        self._destroyed: set[str] = set()  # hashes of contents of which one was deleted or replaced
        self._contents = [f"{seed} {number} ".encode() * self._random.randint(1, 5000) for number in range(5)]
        self._serving = False

    def run(self) -> None:
        """Run it, bring everything up, wait until nothing is left to do, and see whether all is well."""
        steps = (
            [self._drop] * 6 + [self._grow] * 2 + [self._rename] * 3 + [self._delete, self._replace] + [self._kill] * 3 + [self._cut] * 2
        )
        try:
            self._flip_server()
            self._daemon.start()
            for _ in range(_STEPS):
                self._random.choice(steps)()
                time.sleep(self._random.choice([0, 0, 0.05, 0.15, 0.3]))  # so that the daemon is somewhere else each time
            for path in list(self._growing):
                self._close(path)
            if not self._serving:
                self._flip_server()
            if self._daemon.ended():
                self._daemon.start()
            self._server.full = False
            self._server.finish()
            until(self._quiet, lambda: f"not quiet: {self._files()} {self._daemon.state()} {self._daemon.log}")
            assert self._daemon.stop() == 0
        finally:
            self._daemon.kill()
            self._server.stop()
        self._check()

    def _drop(self) -> None:
        path = self._folder / self._random.choice(_NAMES)
        content = self._random.choice(self._contents)
        new = self._outside / "new"
        new.write_bytes(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(new, path)
        except FileExistsError:
            return
        finally:
            new.unlink()
        self._here[path] = content
        self._sure[content] += 1

    def _grow(self) -> None:
        """Begin a slow copy, or write more of one, or end it."""
        if self._growing and self._random.random() < 0.7:
            path = self._random.choice(list(self._growing))
            file, content = self._growing[path]
            file.write(content[file.tell() : file.tell() + len(content) // 3])
            file.flush()
            if file.tell() == len(content):
                self._close(path)
            return
        path = self._folder / self._random.choice(_NAMES)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            self._here.pop(path, None)
            self._growing[path] = (path.open("xb"), self._random.choice(self._contents))

    def _close(self, path: Path) -> None:
        file, content = self._growing.pop(path)
        file.write(content[file.tell() :])
        file.close()
        self._here[path] = content
        self._sure[content] += 1

    def _rename(self) -> None:
        source, target = self._somewhere(), self._folder / self._random.choice(_NAMES)
        if source is None or target.exists():
            return
        content = self._here.pop(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.rename(target)
        except FileNotFoundError:
            return
        self._here[target] = content

    def _delete(self) -> None:
        path = self._somewhere()
        if path is None:
            return
        content = self._here.pop(path)
        try:
            path.unlink()
        except FileNotFoundError:
            return
        self._sure[content] -= 1
        self._destroyed.add(_hash(content))

    def _replace(self) -> None:
        path = self._somewhere()
        if path is None or not path.exists():
            return
        old, content = self._here[path], self._random.choice(self._contents)
        new = self._outside / "new"
        new.write_bytes(content)
        new.replace(path)
        self._here[path] = content
        self._sure[old] -= 1
        self._perhaps[old] += 1
        self._destroyed.add(_hash(old))
        self._sure[content] += 1

    def _kill(self) -> None:
        """Kill the daemon; it comes back at once, or at the next kill."""
        if self._daemon.ended():
            self._daemon.start()
            return
        self._daemon.kill()
        if self._random.random() < 0.7:
            self._daemon.start()

    def _cut(self) -> None:
        """Have the API go away or come back, or be full, or not any more."""
        if self._random.random() < 0.3:
            self._server.full = not self._server.full
        else:
            self._flip_server()

    def _flip_server(self) -> None:
        self._serving = not self._serving
        self._server.full = False
        if self._serving:
            self._server.start()
        else:
            self._server.stop()

    def _somewhere(self) -> Path | None:
        return self._random.choice(list(self._here)) if self._here else None

    def _quiet(self) -> bool:
        left = [path for path in self._files() if path.parts[0] != "done" and path.suffix != ".md"]
        return not left and not self._daemon.state().get("files", True)

    def _files(self) -> list[Path]:
        return [path.relative_to(self._folder) for path in sorted(self._folder.rglob("*")) if path.is_file()]

    def _check(self) -> None:
        archived = [path.relative_to("done") for path in self._files() if path.parts[0] == "done"]
        contents = {path: (self._folder / "done" / path).read_bytes() for path in archived}
        there = Counter(contents.values())
        for content in self._contents:
            assert self._sure[content] <= there[content] <= self._sure[content] + self._perhaps[content], "a recording was lost, or doubled"
            assert self._server.heard[content] <= 1, "a recording was transcribed twice"
        assert self._server.heard.keys() <= set(self._contents), "what was no whole recording was transcribed"
        wanted = {(_NUMBER.sub("", str(path)), _hash(content)) for path, content in contents.items()}
        pairs = self._pairs()
        assert max(Counter(pairs).values(), default=1) == 1, "a recording has two pairs"
        assert wanted <= set(pairs), "a recording has no pair"
        assert {key[1] for key in set(pairs) - wanted} <= self._destroyed, "there are results of what was never archived"

    def _pairs(self) -> list[Key]:
        """Return of what there are pairs of results; see that each is right, and that there is nothing else."""
        texts = [path for path in self._files() if path.parts[0] != "done"]
        pairs = []
        for raw in [path for path in texts if path.name.endswith("_raw.md")]:
            head = read_head(self._folder / raw)
            assert head is not None
            content = next(content for content in self._contents if _hash(content) == head["sha256"])
            corrected = raw.with_name(raw.name.removesuffix("_raw.md") + "_corrected.md")
            texts.remove(raw)
            texts.remove(corrected)
            assert (self._folder / raw).read_text().endswith(f"\n\n{heard_of(content)}\n")
            assert (self._folder / corrected).read_text().endswith(f"\n\n{mended_of(content)}\n")
            pairs.append((str(raw.with_name(head["source"])), head["sha256"]))
        assert not texts, "there are stray files"
        return pairs


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
