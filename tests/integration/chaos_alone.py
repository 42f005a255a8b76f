"""A stage for random scripts: the real daemon before a stand-in of the API, which goes away, is full, and loses answers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.integration.daemon_chaos import Content, play
from tests.integration.daemon_process import DaemonProcess
from tests.transcript_server import TranscriptServer, heard_of, mended_of

__all__ = ["DaemonAlone", "play_alone"]


class DaemonAlone:
    """A :class:`~tests.integration.daemon_chaos.Stage` of one script."""

    pauses_s: Sequence[float] = (0, 0, 0.05, 0.15, 0.3)
    patience_s = 60.0

    def __init__(self, seed: int, place: Path) -> None:
        self.folder = place / f"in-{seed}"
        self.folder.mkdir()
        self._random = random.Random(f"strikes of {seed}")  # noqa: S311 - chance, not secrets
        sounds = [f"{seed} {number} ".encode() * self._random.randint(1, 5000) for number in range(5)]
        self.contents: Sequence[Content] = [Content(sound, heard_of(sound), mended_of(sound)) for sound in sounds]
        self._server = TranscriptServer(takes_s=self._random.choice([0.0, 0.1, 0.4, 1.2]), loses=self._random.choice([0.0, 0.1]), seed=seed)
        self._daemon = DaemonProcess(place / f"home-{seed}", self.folder, self._server, TRANSCRIBE_RESCAN="1")
        self._serving = False

    def begin(self) -> None:
        """Start both."""
        self._flip_server()
        self._daemon.start()

    def strike(self) -> None:
        """Kill the daemon, which comes back at once or at the next kill; or have the API go away, come back, be full, or not any more."""
        if self._random.random() < 0.4:
            if self._random.random() < 0.3:
                self._server.full = not self._server.full
            else:
                self._flip_server()
            return
        if self._daemon.ended():
            self._daemon.start()
            return
        self._daemon.kill()
        if self._random.random() < 0.7:
            self._daemon.start()

    def calm(self) -> None:
        """Have both run, and every job end."""
        if not self._serving:
            self._flip_server()
        if self._daemon.ended():
            self._daemon.start()
        self._server.full = False
        self._server.finish()

    def standing(self) -> Mapping[str, Any] | None:
        """Return what the daemon says of recordings that are not finished."""
        files = self._daemon.state().get("files")
        return None if files is None else {one["path"]: one for one in files}

    def told(self) -> object:
        """Return the daemon's log, and where it stands."""
        return self._daemon.state(), self._daemon.log

    def end(self) -> None:
        """Stop the daemon."""
        assert self._daemon.stop() == 0, "the daemon did not end well"

    def abandon(self) -> None:
        """Kill what is left."""
        self._daemon.kill()
        self._server.stop()

    def check_calls(self, survived: Sequence[Content]) -> None:
        """See that each content was submitted once at most, and nothing else was."""
        assert max(self._server.heard.values(), default=1) == 1, "a recording was transcribed twice"
        assert self._server.heard.keys() <= {content.sound for content in self.contents}, "what was no whole recording was transcribed"
        assert {content.sound for content in survived} <= self._server.heard.keys(), "a recording was not transcribed"

    def _flip_server(self) -> None:
        self._serving = not self._serving
        self._server.full = False
        if self._serving:
            self._server.start()
        else:
            self._server.stop()


def play_alone(seeds: Sequence[int], place: Path) -> dict[int, str]:
    """Play the scripts of *seeds* side by side, each with a daemon of its own; return what went wrong, by seed."""
    return play({seed: partial(DaemonAlone, seed, place) for seed in seeds})
