"""Speech requests into work for the speech engine, on any thread, before the GPU is asked.

The request is OpenAI's: ``input``, ``voice``, ``instructions``; beside them
``language``, ``temperature``, ``top_k``, ``top_p``, ``repetition_penalty`` and
``seed``. A voice is cloned from ``ref_audio``, the path of a file of raw int16
mono (``ref_rate`` samples a second, 16,000 unless said), and ``ref_text``, what is
said in it. ``speed``, ``response_format`` and ``stream_format`` are about the
sound once it is made, and are not looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.engines.checkpoint import Checkpoint
from app.engines.device import on_cpu
from app.engines.ledger import KvAccount
from app.engines.protocols import Loading
from app.engines.sentences import cut, sayable, weight
from app.engines.speaking import SpeechWork
from app.engines.speech import load_speech_engine
from app.engines.speech_books import SpeechBooks
from app.engines.tokenizing import Tokenizing
from app.errors import InvalidRequest, ModelLoadFailed, UnsupportedTask
from app.models.codec import LONGEST_REFERENCE_S
from app.models.footprint import SPEECH_PROMPT_TOKENS, read_footprint
from app.models.spec import ModelSpec
from app.models.voices import VoiceSource, voices_of

__all__ = ["LONGEST_INPUT", "SpeechFrontend", "budget_of"]

LONGEST_INPUT = 4096
"""Characters of a request, as many as OpenAI takes."""

_SLOTS = 4
_LONGEST_INSTRUCTIONS = 1000  # characters
_SHORTEST_REFERENCE_S = 1
_TOKENS_A_SECOND = 12.5
_PROMPT_FRAME = 24  # tokens around the text: roles, language, speaker, beginning and end
# Unhurried speech takes 0.9 tokens for a letter of Latin script; a slow voice on instructions three times that.
_TOKENS_A_LETTER = 3
_LEAST_TOKENS = 50
_SEEDS = 2**63
_Reference = tuple[Path, int, str]


def budget_of(sentence: str) -> int:
    """Return how many codec tokens *sentence* may take: several times what it should, so that only one without an end is cut."""
    return _LEAST_TOKENS + _TOKENS_A_LETTER * weight(sentence)


class SpeechFrontend:
    """A :class:`~app.engines.protocols.Frontend` for Qwen3-TTS, as mlx-audio runs it."""

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint) -> None:
        """Read tokenizer and configuration.

        Raises:
            ModelLoadFailed: The architecture is none that speaks here, or the folder lacks the codec or the tokenizer.
        """
        voices = voices_of(checkpoint.config)
        if voices is None:
            msg = f"{spec.id} is of the architecture {checkpoint.model_type!r}, which cannot speak here; Qwen3-TTS can."
            raise ModelLoadFailed(msg)
        if not any(checkpoint.directory.glob("speech_tokenizer/*.safetensors")):
            msg = f"{checkpoint.directory} has no speech_tokenizer/*.safetensors: without its codec a voice makes no sound."
            raise ModelLoadFailed(msg)
        self.context = SPEECH_PROMPT_TOKENS
        self.slots = spec.slots or _SLOTS
        self._spec = spec
        self._checkpoint = checkpoint
        self._voices = voices
        self._tokenizing = Tokenizing(checkpoint)
        added = sorted(map(str, self._tokenizing.tokenizer.get_added_vocab()), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, added)) or r"(?!)")

    def prepare(
        self,
        work_id: str,
        kind: str,
        request: Mapping[str, Any],
        *,
        seed: int,
        published: Sequence[int] = (),
        alone: bool = False,
    ) -> SpeechWork:
        """Turn a speech request into work that begins behind the sentences whose numbers are *published*.

        Raises:
            InvalidRequest: There is nothing to say, or too much; the model has no such voice or language, or lacks what it
                makes voices of.
            UnsupportedTask: *kind* is not speech.
        """
        if kind != "speech":
            raise UnsupportedTask(self._spec.id, kind, self._spec.tasks)
        sentences = self._sentences(request.get("input"))
        instructions = self._instructions(request.get("instructions"))
        reference = self._reference(request)
        given = request.get("seed")
        return SpeechWork(
            id=work_id,
            sentences=sentences,
            budgets=tuple(map(budget_of, sentences)),
            seed=(seed if given is None else int(given)) % _SEEDS,
            voice=self._voices.speaker(request.get("voice")),
            language=self._voices.language(request.get("language")),
            instructions=instructions,
            reference=reference[0] if reference else None,
            reference_rate=reference[1] if reference else 0,
            reference_text=reference[2] if reference else None,
            prompt_tokens=self._prompt_tokens(sentences, instructions, reference),
            text_tokens=sum(len(self._tokenizing.encode(sentence)) for sentence in sentences),
            first=max(published, default=-1) + 1,
            alone=alone,
            temperature=request.get("temperature"),
            top_k=request.get("top_k"),
            top_p=request.get("top_p"),
            repetition_penalty=request.get("repetition_penalty"),
        )

    def open(self, account: KvAccount | None = None) -> Loading:
        """Begin to load the weights."""
        footprint = read_footprint(self._checkpoint.directory, self._spec.tasks, self.context, cpu=on_cpu())
        books = SpeechBooks(footprint, account)
        return load_speech_engine(self._checkpoint, self._tokenizing, slots=self.slots, books=books)

    def _sentences(self, given: object) -> tuple[str, ...]:
        text = given if isinstance(given, str) else ""
        if len(text) > LONGEST_INPUT:
            msg = f"input has {len(text)} characters; {LONGEST_INPUT} may be said at once. Send it in parts."
            raise InvalidRequest(msg, param="input")
        sentences = tuple(" ".join(piece.split()) for piece in cut(self._plain(text)) if sayable(piece))
        if not sentences:
            msg = "input has nothing to say: no letter and no digit."
            raise InvalidRequest(msg, param="input")
        return sentences

    def _instructions(self, given: object) -> str | None:
        text = self._plain(given).strip() if isinstance(given, str) else ""
        if len(text) > _LONGEST_INSTRUCTIONS:
            msg = f"instructions have {len(text)} characters; the most is {_LONGEST_INSTRUCTIONS}."
            raise InvalidRequest(msg, param="instructions")
        if text and not self._voices.takes_instructions:
            msg = f"{self._spec.id!r} takes no instructions. Leave them out, or use a larger model with named or designed voices."
            raise InvalidRequest(msg, param="instructions")
        if not text and self._makes("design"):
            msg = f"{self._spec.id!r} makes the voice that instructions describe, for example: A calm low voice, speaking slowly."
            raise InvalidRequest(msg, param="instructions")
        return text or None

    def _reference(self, request: Mapping[str, Any]) -> _Reference | None:
        path, text = request.get("ref_audio"), self._plain(str(request.get("ref_text") or "")).strip()
        if not self._makes("clone"):
            if path or text:
                msg = f"{self._spec.id!r} clones no voices; a base model of Qwen3-TTS does."
                raise InvalidRequest(msg, param="ref_audio")
            return None
        if not path or not text:
            msg = f"{self._spec.id!r} speaks like a recording: give ref_audio, and in ref_text what is said in it."
            raise InvalidRequest(msg, param="ref_text" if path else "ref_audio")
        rate = int(request.get("ref_rate") or 16_000)
        file = Path(path)
        seconds = file.stat().st_size / 2 / rate if file.is_file() else 0
        if not _SHORTEST_REFERENCE_S <= seconds <= LONGEST_REFERENCE_S:
            msg = f"ref_audio is {seconds:.1f} s long; a voice is cloned from {_SHORTEST_REFERENCE_S} to {LONGEST_REFERENCE_S} s."
            raise InvalidRequest(msg, param="ref_audio")
        return file, rate, text

    def _prompt_tokens(self, sentences: Sequence[str], instructions: str | None, reference: _Reference | None) -> int:
        """Return the most that the prompt of one sentence may have."""
        said = f"{instructions or ''}{reference[2] if reference else ''}"
        listened = LONGEST_REFERENCE_S * _TOKENS_A_SECOND if reference else 0
        longest = max(len(self._tokenizing.encode(sentence)) for sentence in sentences)
        tokens = _PROMPT_FRAME + longest + len(self._tokenizing.encode(said)) + int(listened)
        if tokens > self.context:
            msg = f"Instructions, ref_text and a sentence have {tokens} tokens; together they may have {self.context}."
            raise InvalidRequest(msg, param="ref_text" if reference else "instructions")
        return tokens

    def _makes(self, source: VoiceSource) -> bool:
        return self._voices.source == source

    def _plain(self, text: str) -> str:
        """Return *text* without what would mean something else to the model than what it says: its control tokens."""
        return self._control.sub(" ", text)
