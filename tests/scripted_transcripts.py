"""Models of the real Protocols for transcripts: two hear, one corrects by rule. Each counts its calls.

``ears`` hears, of the chunk that begins in the n-th stretch of :data:`STRETCH_S`, the n-th line of the request's ``prompt``;
``deaf`` there fails. ``editor`` answers a piece word by word, ``teh`` mended, a capital first and ``hm`` dropped; the piece's word
``refuse`` has it fail, ``wander`` go on for ever, ``hesitate`` mark that word. A call that ends is a line of the file ``calls``
in the model's folder: the chunk's text, or the piece. Where a file ``hold`` is there, nothing ends until it is gone; where
``broken`` is, the editor cannot be loaded.

The other ears hear tones (:func:`talk`), and what they say of them is known beforehand (:func:`said_of`). That takes a while. Of
every model, a call that begins is a line of the file ``begun``: when, and which work.
"""

from __future__ import annotations

import io
import json
import re
import time
import wave
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.audio.pcm import read_span
from app.engines.hearing import Heard, Segment, TranscriptionWork
from app.engines.ledger import KvAccount
from app.engines.protocols import Engine, Event, Failed, Finished, Loading, Sampling, TextWork, Tokens, Work
from app.errors import EngineFailed
from app.models.spec import ModelSpec
from tests.recordings import speechlike

__all__ = ["STRETCH_S", "TONES", "beginnings", "calls", "catalog", "open_ears", "open_editor", "open_tones", "recording", "said_of", "talk"]

STRETCH_S = 8.0
_SPOKEN_S = 3.0
_RATE = 16_000
_SLOTS = 4
_STEP_S = 0.002  # so that work is in flight when a test kills something
_TONE_STEPS = 100  # likewise
_LOWEST_HZ, _APART_HZ = 300, 25
TONES = 150


def talk(tones: Sequence[int]) -> bytes:
    """Return a wav file of stretches that are a tone each, as loud as speech is: now more, now less, with long pauses between."""
    times = np.arange(round(_SPOKEN_S * _RATE)) / _RATE
    loudness = 0.3 * (0.02 + np.sin(2 * np.pi * 2 * times) ** 2)
    pause = np.zeros(round((STRETCH_S - _SPOKEN_S) * _RATE))
    stretches = [(loudness * np.sin(2 * np.pi * (_LOWEST_HZ + _APART_HZ * tone) * times), pause) for tone in tones]
    return _wav(np.concatenate([sound for stretch in stretches for sound in stretch]))


def said_of(tone: int) -> str:
    """Return what is heard in a stretch of this tone. It is right once ``teh`` is mended."""
    return f"Part {tone} of teh talk begins here, its tone is {_LOWEST_HZ + _APART_HZ * tone} hertz, and after it comes silence."


def recording(stretches: int, seed: int = 1) -> bytes:
    """Return a wav file in which somebody speaks so many times, with long pauses between: each time is a chunk of its own."""
    spoken = speechlike(_SPOKEN_S, seed=seed)
    return _wav(np.concatenate([spoken, np.zeros(round((STRETCH_S - _SPOKEN_S) * _RATE), np.float32)] * stretches))


def _wav(sound: npt.NDArray[np.floating[Any]]) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return out.getvalue()


def catalog(folder: Path, memory: str = "1GB", ears: str = "ears") -> Path:
    """Write a catalog of two models, each of which takes *memory*: *ears* (or ``tones``) and the editor, which has every other role."""
    entries = []
    for name, tasks in ((ears, ["asr"]), ("editor", ["chat", "embedding"])):
        model = folder / name
        model.mkdir(exist_ok=True)
        (model / "config.json").write_text("{}")
        (model / "model.safetensors").write_bytes(b"")
        for noted in ("begun", "calls"):
            (model / noted).touch()
        entries.append(
            f'[[model]]\nid = "{name}"\nrepo = "{model}"\ntasks = {json.dumps(tasks)}\nmemory = "{memory}"\nslots = {_SLOTS}\n'
            f'engine = "tests.scripted_transcripts:open_{name}"\n'
        )
    file = folder / "catalog.toml"
    file.write_text("".join(entries) + f'[roles]\nasr = "{ears}"\nchat = "editor"\nembedding = "editor"\n')
    return file


def calls(folder: Path, model: str) -> list[str]:
    """Return what each call of a model was about, in order."""
    return (folder / model / "calls").read_text("utf-8").splitlines()


def beginnings(folder: Path, model: str) -> list[tuple[float, str]]:
    """Return when each call of a model began, in seconds of the epoch, and the id of its work, in order."""
    lines = [line.split() for line in (folder / model / "begun").read_text("utf-8").splitlines()]
    return [(float(at), work) for at, work in lines]


class _Scripted(ABC):
    """What both engines have in common."""

    slots = _SLOTS

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._works: list[Any] = []
        self._begun: set[str] = set()

    def add(self, work: Work) -> None:
        self._works.append(work)

    def cancel(self, work_id: str) -> None:
        self._works = [work for work in self._works if work.id != work_id]

    @property
    def has_work(self) -> bool:
        return bool(self._works)

    def stepping(self) -> Sequence[str]:
        return [work.id for work in self._works[:_SLOTS]]

    def step(self) -> Sequence[Event]:
        time.sleep(_STEP_S)
        if (self._folder / "hold").exists():
            return ()
        works = self._works[:_SLOTS]
        new = [work.id for work in works if work.id not in self._begun]
        if new:
            self._begun.update(new)
            self._note("begun", *(f"{time.time()} {work_id}" for work_id in new))
        return [event for work in works for event in self._of(work)]

    @abstractmethod
    def _of(self, work: Any) -> Iterator[Event]:  # noqa: ANN401 - of its own kind
        """Yield what a step of *work* brings."""

    def _end(self, work: Any, call: str) -> None:  # noqa: ANN401 - likewise
        self._works.remove(work)
        self._note("calls", call.replace("\n", " "))

    def _note(self, name: str, *lines: str) -> None:
        with (self._folder / name).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def close(self) -> None:
        self._works.clear()


class _Ears(_Scripted):
    def _of(self, work: TranscriptionWork) -> Iterator[Event]:
        lines = work.prompt.split("\n")
        text = lines[min(int((work.start_s + 1) // STRETCH_S), len(lines) - 1)]
        self._end(work, text)
        if text == "deaf":
            yield Failed(work.id, EngineFailed("This chunk was to fail."))
            return
        segments = (Segment(work.start_s, work.end_s, text),)
        yield Heard(work.id, text, "en", segments, (), "stop", (), 1, 1)


class _Tones(_Scripted):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._steps: Counter[str] = Counter()

    def _of(self, work: TranscriptionWork) -> Iterator[Event]:
        self._steps[work.id] += 1
        if self._steps[work.id] == _TONE_STEPS:
            text = said_of(_tone_of(read_span(work.audio, work.start_s, work.end_s)))
            self._end(work, text)
            yield Heard(work.id, text, "en", (Segment(work.start_s, work.end_s, text),), (), "stop", (), 1, 1)


def _tone_of(sound: npt.NDArray[np.float32]) -> int:
    loudest_hz = float(np.argmax(np.abs(np.fft.rfft(sound)))) * _RATE / len(sound)
    return round((loudest_hz - _LOWEST_HZ) / _APART_HZ)


class _Editor(_Scripted):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._done: dict[str, int] = {}

    def _of(self, work: TextWork) -> Iterator[Event]:
        piece = bytes(work.prompt).decode()
        if "refuse" in piece:
            self._end(work, piece)
            yield Failed(work.id, EngineFailed("This piece was to fail."))
            return
        words = _corrected(piece)
        done = self._done.setdefault(work.id, len(work.published))
        if done < (work.max_tokens if "wander" in piece else len(words)):
            yield Tokens(work.id, (done,), words[done % len(words)])
            self._done[work.id] += 1
            return
        self._end(work, piece)
        yield Finished(work.id, "length" if "wander" in piece else "stop", len(work.prompt), done, 0)


def _corrected(piece: str) -> list[str]:
    text = re.sub(r"\bhm\b\s*", "", piece.replace("teh", "the").replace("hesitate", "【?hesitate】"))
    return re.findall(r"\S+\s*", text[:1].upper() + text[1:])


class _Frontend:
    context = 100_000
    slots = _SLOTS

    def __init__(self, folder: Path) -> None:
        self._folder = folder


class _EarsFrontend(_Frontend):
    finds_speech = False
    longest_chunk_s = 30.0
    languages = ("en",)
    words = False
    translates = False

    def __init__(self, folder: Path, ears: Callable[[Path], Engine]) -> None:
        super().__init__(folder)
        self._ears = ears

    def prepare(
        self, work_id: str, kind: str, request: Mapping[str, Any], *, seed: int, published: Sequence[int] = (), alone: bool = False
    ) -> Work:
        assert kind == "transcription"
        start_s, end_s = request.get("start_s") or 0.0, request.get("end_s") or 1.0
        hotwords = tuple(request.get("hotwords") or ())[:2]
        return TranscriptionWork(
            work_id, Path(request["audio"]), start_s, end_s, prompt=request.get("prompt") or "", hotwords=hotwords, alone=alone
        )

    def open(self, account: KvAccount | None = None) -> Loading:
        return iter([self._ears(self._folder)])


class _EditorFrontend(_Frontend):
    def prepare(
        self, work_id: str, kind: str, request: Mapping[str, Any], *, seed: int, published: Sequence[int] = (), alone: bool = False
    ) -> Work:
        assert kind == "chat"
        assert request["chat_template_kwargs"] == {"enable_thinking": False}
        found = re.search(r"<transcript>\n(.*)\n</transcript>", request["messages"][-1]["content"], re.DOTALL)
        assert found is not None
        prompt, sampling = tuple(found.group(1).encode()), Sampling(seed, temperature=request["temperature"])
        return TextWork(work_id, prompt, request["max_tokens"], sampling, published=tuple(published), alone=alone)

    def open(self, account: KvAccount | None = None) -> Loading:
        def load() -> Iterator[Engine | None]:
            yield None
            if (self._folder / "broken").exists():
                text = "asked to"
                raise RuntimeError(text)
            yield _Editor(self._folder)

        return load()


def open_ears(spec: ModelSpec, directory: Path) -> _EarsFrontend:
    """Open the model that hears what it is told."""
    return _EarsFrontend(directory, _Ears)


def open_tones(spec: ModelSpec, directory: Path) -> _EarsFrontend:
    """Open the model that hears tones."""
    return _EarsFrontend(directory, _Tones)


def open_editor(spec: ModelSpec, directory: Path) -> _EditorFrontend:
    """Open the model that corrects."""
    return _EditorFrontend(directory)
