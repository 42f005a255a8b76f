"""Random scripts for a watched folder: files come, grow, move, are copied, replaced and deleted, and processes die, at random moments.

A script knows what it put where, and what of that it took away again. What the
daemon does meanwhile it cannot know: a file that is to be deleted may have
been archived a moment ago. So it counts what an operation really did.

Scripts are played on a stage: :mod:`tests.integration.chaos_alone` is the daemon
before a stand-in of the API, :mod:`tests.integration.chaos_stack` the whole stack.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from daemon.front_matter import read_head
from tests.integration.daemon_process import until

__all__ = ["Chaos", "Content", "Stage", "play"]

_NAMES = ("a.wav", "a.mp3", "b.m4a", "talks/a.wav", "talks/第二 講.ogg", "c.flac", "talks/deep/d.webm")
_NUMBER = re.compile(r" \(\d+\)(?=\.\w+$)")
_STEPS = 18

Key = tuple[str, str]
"""Where a recording was dropped, and the hash of its content."""


class Content(NamedTuple):
    """What a recording holds, and what is right about it."""

    sound: bytes
    heard: str
    mended: str

    @property
    def sha256(self) -> str:
        """Of the sound."""
        return hashlib.sha256(self.sound).hexdigest()


class Stage(Protocol):
    """A watched folder, and who watches it."""

    folder: Path
    contents: Sequence[Content]
    pauses_s: Sequence[float]  # between two steps of a script, so that whoever watches is somewhere else each time
    patience_s: float

    def begin(self) -> None:
        """Have the folder watched."""

    def strike(self) -> None:
        """Kill a process, or let trouble come or go."""

    def calm(self) -> None:
        """End all trouble."""

    def standing(self) -> Mapping[str, Any] | None:
        """Return what the daemon says of the folder's recordings that are not finished; None: it says nothing now."""

    def told(self) -> object:
        """Return what may explain why a script fails."""

    def end(self) -> None:
        """Stop what :meth:`begin` started, in good order."""

    def abandon(self) -> None:
        """Stop it, whatever state it is in."""

    def check_calls(self, survived: Sequence[Content]) -> None:
        """See that no model was asked twice for the same, and for nothing but the contents."""


def play(stages: Mapping[int, Callable[[], Stage]]) -> dict[int, str]:
    """Play the script of each seed on its stage, all at once; return what went wrong, by seed."""

    def one(seed: int) -> str | None:
        try:
            Chaos(seed, stages[seed]()).run()
        except (AssertionError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        return None

    print(f"random scripts of the seeds {', '.join(map(str, stages))}")  # noqa: T201 - shown where one fails
    with ThreadPoolExecutor(len(stages)) as scripts:
        ends = dict(zip(stages, scripts.map(one, stages), strict=True))
    return {seed: wrong for seed, wrong in ends.items() if wrong is not None}


class Chaos:
    """One script."""

    def __init__(self, seed: int, stage: Stage) -> None:
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrets
        self._stage = stage
        self._folder = stage.folder
        self._outside = stage.folder.with_name(f"{stage.folder.name}-outside")
        self._outside.mkdir()
        self._here: dict[Path, Content] = {}  # as the script left it
        self._growing: dict[Path, tuple[IO[bytes], Content]] = {}
        self._sure: Counter[Content] = Counter()  # recordings that must be there at the end
        self._perhaps: Counter[Content] = Counter()  # that may be: replaced, unless they were archived right before
        self._destroyed: set[str] = set()  # hashes of contents of which one was deleted or replaced

    def run(self) -> None:
        """Run it, bring everything up, wait until nothing is left to do, and see whether all is well."""
        steps = [self._drop] * 6 + [self._grow] * 2 + [self._rename] * 3 + [self._delete, self._replace] + [self._stage.strike] * 5
        try:
            self._stage.begin()
            for _ in range(_STEPS):
                self._random.choice(steps)()
                time.sleep(self._random.choice(self._stage.pauses_s))
            for path in list(self._growing):
                self._close(path)
            self._stage.calm()
            until(self._quiet, lambda: f"not quiet: {self._files()} {self._stage.told()}", self._stage.patience_s)
            self._stage.end()
        finally:
            self._stage.abandon()
        self._check()

    def _drop(self) -> None:
        path = self._folder / self._random.choice(_NAMES)
        content = self._random.choice(self._stage.contents)
        new = self._outside / "new"
        new.write_bytes(content.sound)
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
            file.write(content.sound[file.tell() : file.tell() + len(content.sound) // 3])
            file.flush()
            if file.tell() == len(content.sound):
                self._close(path)
            return
        path = self._folder / self._random.choice(_NAMES)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            self._here.pop(path, None)
            self._growing[path] = (path.open("xb"), self._random.choice(self._stage.contents))

    def _close(self, path: Path) -> None:
        file, content = self._growing.pop(path)
        file.write(content.sound[file.tell() :])
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
        self._destroyed.add(content.sha256)

    def _replace(self) -> None:
        path = self._somewhere()
        if path is None or not path.exists():
            return
        old, content = self._here[path], self._random.choice(self._stage.contents)
        new = self._outside / "new"
        new.write_bytes(content.sound)
        new.replace(path)
        self._here[path] = content
        self._sure[old] -= 1
        self._perhaps[old] += 1
        self._destroyed.add(old.sha256)
        self._sure[content] += 1

    def _somewhere(self) -> Path | None:
        return self._random.choice(list(self._here)) if self._here else None

    def _quiet(self) -> bool:
        left = [path for path in self._files() if path.parts[0] != "done" and path.suffix != ".md"]
        return not left and self._stage.standing() == {}

    def _files(self) -> list[Path]:
        return [path.relative_to(self._folder) for path in sorted(self._folder.rglob("*")) if path.is_file()]

    def _check(self) -> None:
        archived = [path.relative_to("done") for path in self._files() if path.parts[0] == "done"]
        hashes = {path: hashlib.sha256((self._folder / "done" / path).read_bytes()).hexdigest() for path in archived}
        there = Counter(hashes.values())
        for content in self._stage.contents:
            sure = self._sure[content]
            assert sure <= there[content.sha256] <= sure + self._perhaps[content], "a recording was lost, or doubled"
        wanted = {(_NUMBER.sub("", str(path)), sha256) for path, sha256 in hashes.items()}
        pairs = self._pairs()
        assert max(Counter(pairs).values(), default=1) == 1, "a recording has two pairs"
        assert wanted <= set(pairs), "a recording has no pair"
        assert {key[1] for key in set(pairs) - wanted} <= self._destroyed, "there are results of what was never archived"
        self._stage.check_calls([content for content in self._stage.contents if there[content.sha256]])

    def _pairs(self) -> list[Key]:
        """Return of what there are pairs of results; see that each is right, and that there is nothing else."""
        texts = [path for path in self._files() if path.parts[0] != "done"]
        pairs = []
        for raw in [path for path in texts if path.name.endswith("_raw.md")]:
            head = read_head(self._folder / raw)
            assert head is not None, f"{raw} has no head"
            content = next(content for content in self._stage.contents if content.sha256 == head["sha256"])
            corrected = raw.with_name(raw.name.removesuffix("_raw.md") + "_corrected.md")
            assert corrected in texts, f"{raw} is half a pair"
            texts.remove(raw)
            texts.remove(corrected)
            for result, right in ((raw, content.heard), (corrected, content.mended)):
                text = _text(self._folder / result)
                assert text == right, f"{result} says {text!r}, not {right!r}"
            pairs.append((str(raw.with_name(head["source"])), head["sha256"]))
        assert not texts, "there are stray files"
        return pairs


def _text(result: Path) -> str:
    """Return what a result holds below its head."""
    return result.read_text().split("---\n", 2)[2].strip()
