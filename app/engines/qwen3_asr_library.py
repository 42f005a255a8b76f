"""Qwen3-ASR of mlx-audio, token by token: the only module that knows its private names.

The library's ``generate`` has one budget of tokens for all of a recording and makes
logits of every place of the prompt. Its parts are driven from here instead: features,
encoder, prompt, decoder and cache. Sound is padded with silence to whole seconds, so
that few shapes occur.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx_audio.stt.models.qwen3_asr import ModelConfig, Qwen3ASRModel

from app.audio.pcm import RATE_HZ
from app.engines.audio_library import load_lazily
from app.engines.hearing import Segment, TranscriptionWork
from app.engines.languages import QWEN_LANGUAGES, code_of
from app.engines.listening import Take, budget_tokens, drawn_of, told_beforehand
from app.engines.pcm import Samples
from app.engines.protocols import Sampling
from app.engines.repetition import compresses_too_well, loops
from app.engines.sampling import Draw

__all__ = ["Qwen3AsrListener", "load_qwen3_asr"]

_TEXT_BEGINS = "<asr_text>"
_NO_LANGUAGE = "none"  # what the model says of silence
_LONGEST_HEAD = 16  # tokens of the language that the model says before the text
_PLACES = 1_000_000  # draws that one place of a recording may need


class _Drawn(NamedTuple):
    ids: tuple[int, ...]
    ended: bool
    avg_logprob: float


def load_qwen3_asr(directory: Path, config: Mapping[str, Any], tokenizer: object, features: object) -> nn.Module:
    """Return the model with weights that are read when they are evaluated.

    Args:
        directory: Its folder.
        config: Its ``config.json``.
        tokenizer: Of transformers; for the GPU thread alone.
        features: The feature extractor of transformers.
    """
    model: nn.Module = Qwen3ASRModel(ModelConfig.from_dict(dict(config)))
    load_lazily(model, directory, config)
    model._tokenizer, model._feature_extractor = tokenizer, features  # noqa: SLF001
    return model


class Qwen3AsrListener:
    """A :class:`~app.engines.listening.Listener` over a Qwen3-ASR model.

    Args:
        model: As loaded here.
        context: Tokens of prompt, sound and text of a stretch.
        longest_s: How long a stretch may be.
    """

    def __init__(self, model: Any, *, context: int, longest_s: float) -> None:  # noqa: ANN401 - of mlx-audio, which has no types
        self.longest_s = longest_s
        self._model = model
        self._context = context
        self._ends = model._eos_token_ids()  # noqa: SLF001

    def close(self) -> None:
        """Let go of the weights."""
        del self._model

    def hear(self, work: TranscriptionWork, sound: Samples, at_s: float, language: str | None) -> Generator[None, None, Take]:
        """Hear *sound* at once. Its text is one segment: this family marks no times."""
        seconds = len(sound) / RATE_HZ
        prompt, embedded = yield from self._read(work, sound, language)
        drawn = yield from self._draw(work, embedded, at_s, min(budget_tokens(work, seconds), self._context - len(prompt)))
        ids, said = self._text_of(drawn.ids, named=language is not None)
        text = self._model._tokenizer.decode(ids, skip_special_tokens=True).strip()  # noqa: SLF001
        repeats = compresses_too_well(text) or loops(drawn.ids)
        return Take(
            text=text,
            ids=ids if text else (),
            language=(language or said) if text else None,
            segments=(Segment(0.0, seconds, text, drawn.avg_logprob),) if text else (),
            cut_off=0 if drawn.ended or repeats else len(drawn.ids),
            repeats=repeats,
            prompt_tokens=len(prompt),
            completion_tokens=len(drawn.ids) + drawn.ended,
        )

    def _read(self, work: TranscriptionWork, sound: Samples, language: str | None) -> Generator[None, None, tuple[list[int], mx.array]]:
        """Return the prompt's ids, and the embeddings that the decoder begins with, shape (1, tokens, width)."""
        whole = -(-len(sound) // RATE_HZ) * RATE_HZ
        padded = np.pad(sound, (0, whole - len(sound)))
        features, mask, places = self._model._preprocess_audio(padded)  # noqa: SLF001
        yield
        # Nothing in the encoder looks beyond its window of 8 s, so window by window gives the same.
        window, parts = self._model.config.audio_config.n_window_infer, []
        for at in range(0, features.shape[-1], window):
            part = self._model.get_audio_features(features[..., at : at + window], mask[:, at : at + window])
            mx.eval(part)
            parts.append(part)
            yield
        heard = mx.concatenate(parts)
        name = None if language is None else QWEN_LANGUAGES[language]
        ids = self._model._build_prompt(places, name, told_beforehand(work, self._model._tokenizer))  # noqa: SLF001
        embedded = self._model._build_inputs_embeds(ids, heard)  # noqa: SLF001
        mx.eval(embedded)
        return ids[0].tolist(), embedded

    def _draw(self, work: TranscriptionWork, embedded: mx.array, at_s: float, budget: int) -> Generator[None, None, _Drawn]:
        cache, draw = self._model.make_cache(), Draw([Sampling(seed=work.seed, temperature=work.temperature)])
        first_place = round(at_s * 100) * _PLACES
        ids: list[int] = []
        ended, logprob_sum = False, 0.0
        while len(ids) < budget:
            token, logprob = drawn_of(self._logits(embedded, cache), draw, first_place + len(ids))
            logprob_sum += logprob
            yield
            if ended := token in self._ends:
                break
            ids.append(token)
            if loops(ids):
                break
            embedded = self._model.model.embed_tokens(mx.array([[token]]))
        return _Drawn(tuple(ids), ended, logprob_sum / (len(ids) + 1))

    def _logits(self, embedded: mx.array, cache: list[Any]) -> mx.array:
        """Return the logits of the last place, shape (1, vocabulary), float32."""
        model = self._model
        last = model.model(inputs_embeds=embedded, cache=cache)[:, -1]
        logits = model.model.embed_tokens.as_linear(last) if model.lm_head is None else model.lm_head(last)
        result: mx.array = logits.astype(mx.float32)
        return result

    def _text_of(self, ids: tuple[int, ...], *, named: bool) -> tuple[tuple[int, ...], str | None]:
        """Return the ids of the text alone, and the code of the language that the model says before it."""
        if named:
            return ids, None
        for place in range(1, len(ids) + 1):
            head = self._model._tokenizer.decode(ids[:place])  # noqa: SLF001
            if _TEXT_BEGINS in head:
                name = head.partition(_TEXT_BEGINS)[0].removeprefix("language").strip()
                silent = name.lower() == _NO_LANGUAGE
                return (() if silent else ids[place:]), code_of(name, QWEN_LANGUAGES.items())
            if place > _LONGEST_HEAD:
                break
        return ids, None
