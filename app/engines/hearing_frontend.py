"""Requests for text of speech into work for the engine that hears, on any thread, before the GPU is asked.

What a family cannot do is refused here, with a sentence that says what can: nobody
waits for a transcript to learn that it has no word times, or is in no asked language.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.audio.pcm import duration_s
from app.engines.checkpoint import Checkpoint
from app.engines.device import on_cpu
from app.engines.ears import Ears, ears_of
from app.engines.hearing import TranscriptionWork
from app.engines.hearing_engine import Detector, load_hearing_engine, whole_recording
from app.engines.languages import code_of
from app.engines.ledger import KvAccount
from app.engines.protocols import Loading, Work
from app.errors import InvalidRequest, UnsupportedTask
from app.models.footprint import read_footprint
from app.models.spec import ModelSpec

__all__ = ["HearingFrontend"]

_SLOTS = 8  # more than a long recording has chunks under way, so that others get turns beside them
_KINDS = {"transcription": "transcribe", "translation": "translate"}


class HearingFrontend:
    """A :class:`~app.engines.protocols.Frontend` that :class:`~app.engines.hearing.Hears`.

    Args:
        spec: What the catalog says of the model.
        checkpoint: Its folder.
        vad: Folder of Silero's weights; None: the detector finds speech.
        detector: Finds speech where Silero's weights are not here.

    Raises:
        ModelLoadFailed: The model is of no family that hears, or its tokenizer cannot be loaded.
    """

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, vad: Path | None = None, detector: Detector = whole_recording) -> None:
        self._spec = spec
        self._checkpoint = checkpoint
        self._vad = vad
        self._detector = detector
        self.finds_speech = vad is not None
        self._ears: Ears = ears_of(spec.id, checkpoint)
        self.context = self._ears.context
        self.slots = spec.slots or _SLOTS
        self.longest_chunk_s = self._ears.longest_chunk_s
        self.languages = tuple(self._ears.languages)
        self.words = self._ears.words
        self.translates = self._ears.translates

    def prepare(
        self,
        work_id: str,
        kind: str,
        request: Mapping[str, Any],
        *,
        seed: int,
        published: Sequence[int] = (),
        alone: bool = False,
    ) -> Work:
        """Turn a request about a chunk of a recording into work.

        Args:
            work_id: As the Protocol has it.
            kind: ``transcription`` or ``translation``.
            request: OpenAI's ``language`` (a code or an English name), ``prompt``, ``temperature`` and
                ``timestamp_granularities``; ``hotwords``, ``seed`` and ``max_tokens``; ``fit_hotwords``: that hot words beyond
                what the model can be told are left out, not refused; and of the recording ``audio``, a pcm file, ``start_s`` and
                ``end_s`` (unset: all of it), and ``whole``: whether that is all of it.
            seed: As the Protocol has it.
            published: As the Protocol has it.
            alone: As the Protocol has it.

        Raises:
            InvalidRequest: The model cannot do what is asked.
            UnsupportedTask: *kind* is neither.
        """
        if kind not in _KINDS:
            raise UnsupportedTask(self._spec.id, kind, self._spec.tasks)
        self._refuse_unable(kind, request)
        audio = Path(request["audio"])
        start_s, end_s = request.get("start_s"), request.get("end_s")
        given = request.get("seed")
        return TranscriptionWork(
            id=work_id,
            audio=audio,
            start_s=float(start_s or 0.0),
            end_s=duration_s(audio) if end_s is None else float(end_s),
            task="translate" if kind == "translation" else "transcribe",
            language=self._language(request.get("language")),
            prompt=request.get("prompt") or "",
            hotwords=self._hotwords(request),
            temperature=float(request.get("temperature") or 0.0),
            seed=seed if given is None else int(given),
            max_tokens=request.get("max_tokens"),
            words="word" in (request.get("timestamp_granularities") or ()),
            published=tuple(published),
            alone=alone,
            whole=bool(request.get("whole", start_s is None and end_s is None)),
        )

    def open(self, account: KvAccount | None = None) -> Loading:
        """Begin to load the weights."""
        footprint = read_footprint(self._checkpoint.directory, self._spec.tasks, self.context, cpu=on_cpu())
        return load_hearing_engine(
            self._checkpoint.directory.name,
            self._ears.load,
            self._ears.listener,
            slots=self.slots,
            detector=self._load_detector,
            chunk_bytes=footprint.one_request_bytes(self.context // 2, self.context - self.context // 2),
            account=account,
        )

    def _load_detector(self) -> Detector:
        if self._vad is None:
            return self._detector
        from app.engines.silero_library import Silero

        return Silero(self._vad).spans

    def _refuse_unable(self, kind: str, request: Mapping[str, Any]) -> None:
        if kind == "translation" and not self.translates:
            msg = f"{self._spec.id!r} cannot translate: {self._ears.why_no_translation}"
            raise InvalidRequest(msg, param="model")
        if "word" in (request.get("timestamp_granularities") or ()) and not self.words:
            msg = f"{self._spec.id!r} cannot say when each word is spoken: {self._ears.why_no_words}"
            raise InvalidRequest(msg, param="timestamp_granularities")

    def _language(self, said: str | None) -> str | None:
        if not said or said.lower() == "auto":
            return None
        code = code_of(said, self._ears.languages.items())
        if code is None:
            known = ", ".join(sorted(self.languages))
            msg = f"{self._spec.id!r} does not know the language {said[:40]!r}. It knows {known}; leave language out to have it found."
            raise InvalidRequest(msg, param="language")
        return code

    def _hotwords(self, request: Mapping[str, Any]) -> tuple[str, ...]:
        words = tuple(word.strip() for word in request.get("hotwords") or () if word.strip())
        prompt = request.get("prompt") or ""
        told = self._ears.told_tokens(prompt, words)
        if told > self._ears.most_told and request.get("fit_hotwords"):
            fitting = bisect_right(range(len(words)), self._ears.most_told, key=lambda count: self._ears.told_tokens(prompt, words[:count]))
            if fitting:  # how many from none on fit, so the last that does is one less
                return words[: fitting - 1]
        if told > self._ears.most_told:
            param = "hotwords" if words else "prompt"
            msg = f"prompt and hotwords have {told} tokens together, and {self._spec.id!r} takes {self._ears.most_told}; shorten them."
            raise InvalidRequest(msg, param=param)
        return words
