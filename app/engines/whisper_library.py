"""Whisper of mlx-audio, token by token: the only module that knows its private names.

The library's ``generate`` hears a whole recording in one call. Its parts are driven
from here instead, so that others get their turn between two tokens: encoder, decoder,
rules of decoding, word times. The order of things is its authors': windows of 30 s,
a rising temperature where a text repeats itself or is improbable, nothing where
nobody speaks. Draws depend on seed, place in the recording, attempt and position
alone, and touch no global state.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import mlx.core as mx
from mlx import nn
from mlx_audio.stt.models import whisper
from mlx_audio.stt.models.whisper.audio import N_SAMPLES, log_mel_spectrogram
from mlx_audio.stt.models.whisper.decoding import ApplyTimestampRules, DecodingOptions, DecodingTask, detect_language
from mlx_audio.stt.models.whisper.timing import add_word_timestamps
from mlx_audio.stt.models.whisper.tokenizer import LANGUAGES

from app.audio.pcm import RATE_HZ
from app.engines.audio_library import load_lazily
from app.engines.device import on_cpu
from app.engines.hearing import Segment, TranscriptionWork, Word
from app.engines.listening import Take, budget_tokens, drawn_of, told_beforehand
from app.engines.pcm import Samples, is_silent
from app.engines.protocols import Sampling
from app.engines.repetition import compresses_too_well, loops
from app.engines.sampling import Draw
from app.engines.whisper_rules import TimeRules
from app.engines.whisper_segments import Stretch, stretches_of

__all__ = ["WHISPER_LANGUAGES", "WhisperListener", "load_whisper"]

WHISPER_LANGUAGES: Mapping[str, str] = LANGUAGES
"""Code -> English name in lower case."""

_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_LEAST_LOGPROB = -1.0
_NO_SPEECH = 0.6
_LATEST_START = 50  # marks of 20 ms: a text begins within the first second
_ENCODER_LAYERS = 8  # of a slice, on a GPU
_LEAST_S = 0.1  # of sound: less says nothing
_PLACES = 1_000_000  # draws that one place of a recording may need


class _Drawn(NamedTuple):
    """What one attempt at a window came to."""

    tokens: tuple[int, ...]  # marks of time among them
    ended: bool  # by itself, and not by its budget
    repeats: bool
    avg_logprob: float
    no_speech_prob: float
    prompt_tokens: int

    @property
    def silent(self) -> bool:
        return self.no_speech_prob > _NO_SPEECH and self.avg_logprob < _LEAST_LOGPROB


def load_whisper(directory: Path, config: Mapping[str, Any], generation: Mapping[str, Any], tokenizer: Any) -> nn.Module:  # noqa: ANN401
    """Return the model with weights that are read when they are evaluated.

    Args:
        directory: Its folder.
        config: Its ``config.json``.
        generation: Its ``generation_config.json``, which says which heads align words.
        tokenizer: Of transformers; for the GPU thread alone, and changed.
    """
    # Only float32 products use the BLAS on a CPU, and masks and positions are made in the type given here.
    model: nn.Module = whisper.Model(whisper.ModelConfig.from_dict(dict(config)), mx.float32 if on_cpu() else mx.float16)
    load_lazily(model, directory, config)
    vocabulary = tokenizer.get_vocab()
    tokenizer.get_vocab = lambda: vocabulary  # the library asks for it three times a window, and to make it takes 30 ms
    model._processor = SimpleNamespace(tokenizer=tokenizer)  # noqa: SLF001
    if isinstance(heads := generation.get("alignment_heads"), list):
        model.set_alignment_heads(heads)
    return model


class WhisperListener:
    """A :class:`~app.engines.listening.Listener` over a Whisper model."""

    longest_s = N_SAMPLES / RATE_HZ

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - of mlx-audio, which has no types
        self._model = model

    def close(self) -> None:
        """Let go of the weights."""
        del self._model

    def hear(self, work: TranscriptionWork, sound: Samples, at_s: float, language: str | None) -> Generator[None, None, Take]:
        """Hear *sound*, a window of at most 30 s after the other."""
        takes: list[Take] = []
        at = 0
        while (len(sound) - at) >= _LEAST_S * RATE_HZ and not is_silent(sound[at:]):
            window = sound[at : at + N_SAMPLES]
            features = yield from self._encode(window)
            if language is None:
                language = self._detect(features)
                yield
            take, done_s = yield from self._window(work, features, len(window) / RATE_HZ, language, at_s + at / RATE_HZ)
            takes.append(_moved(take, at / RATE_HZ))
            at += round(done_s * RATE_HZ) if done_s >= _LEAST_S else len(window)
        return _joined(takes, language)

    def _encode(self, window: Samples) -> Generator[None, None, mx.array]:
        """Return what the decoder attends to, shape (1, frames, width): the library's encoder, some layers a slice."""
        encoder = self._model.encoder
        mel = log_mel_spectrogram(mx.array(window), n_mels=self._model.dims.n_mels, padding=N_SAMPLES - len(window))
        x = nn.gelu(encoder.conv1(mel[None].astype(self._model.dtype)))
        x = nn.gelu(encoder.conv2(x)) + encoder._positional_embedding  # noqa: SLF001
        layers = 1 if on_cpu() else _ENCODER_LAYERS
        for number, block in enumerate(encoder.blocks):
            x, _, _ = block(x)
            if number % layers == layers - 1:
                mx.eval(x)
                yield
        features: mx.array = encoder.ln_post(x)
        mx.eval(features)
        yield
        return features

    def _detect(self, features: mx.array) -> str:
        if not self._model.is_multilingual:
            return "en"
        _, (chances,) = detect_language(self._model, features)
        return str(max(chances, key=chances.get))

    def _window(
        self, work: TranscriptionWork, features: mx.array, seconds: float, language: str, at_s: float
    ) -> Generator[None, None, tuple[Take, float]]:
        """Return what is said in one window, and how much of it that accounts for."""
        drawn = yield from self._best(work, features, seconds, language, at_s)
        tokenizer = self._model.get_tokenizer(language=language, task=work.task)
        if drawn.silent:
            return Take(prompt_tokens=drawn.prompt_tokens, completion_tokens=len(drawn.tokens)), seconds
        stretches, done_s = stretches_of(drawn.tokens, first_mark=tokenizer.timestamp_begin, text_ends=tokenizer.eot, window_s=seconds)
        stretches = [stretch for stretch in stretches if stretch.ids and stretch.end_s > stretch.start_s]
        texts = [tokenizer.decode(list(stretch.ids)) for stretch in stretches]
        words: tuple[Word, ...] = ()
        if work.words and stretches:
            words = self._words(features, stretches, seconds, tokenizer)
            yield
        take = Take(
            text="".join(texts),
            ids=tuple(token for stretch in stretches for token in stretch.ids),
            segments=tuple(
                Segment(stretch.start_s, stretch.end_s, text.strip(), drawn.avg_logprob, drawn.no_speech_prob)
                for stretch, text in zip(stretches, texts, strict=True)
                if text.strip()
            ),
            words=words,
            # Where segments were complete, what was cut off is heard again after them.
            cut_off=0 if drawn.ended or drawn.repeats or done_s < seconds else len(drawn.tokens),
            repeats=drawn.repeats,
            prompt_tokens=drawn.prompt_tokens,
            completion_tokens=len(drawn.tokens) + drawn.ended,
        )
        return take, done_s

    def _best(
        self, work: TranscriptionWork, features: mx.array, seconds: float, language: str, at_s: float
    ) -> Generator[None, None, _Drawn]:
        """Try temperatures until a text is neither repetitive nor improbable; the last one's is taken as it is."""
        temperatures = (work.temperature,) if work.temperature > 0 else _TEMPERATURES
        tokens = budget_tokens(work, seconds)
        for attempt, temperature in enumerate(temperatures):
            sampling = Sampling(seed=work.seed, temperature=temperature)
            first_place = (round(at_s * 100) * len(_TEMPERATURES) + attempt) * _PLACES
            drawn = yield from self._draw(work, features, language, tokens, sampling, first_place)
            if drawn.silent or not (drawn.repeats or drawn.avg_logprob < _LEAST_LOGPROB):
                break
        return drawn

    def _draw(
        self, work: TranscriptionWork, features: mx.array, language: str, budget: int, sampling: Sampling, first_place: int
    ) -> Generator[None, None, _Drawn]:
        prompt = told_beforehand(work, self._model._processor.tokenizer)  # noqa: SLF001
        task = DecodingTask(self._model, DecodingOptions(task=work.task, language=language, prompt=prompt or None))
        begin, draw, logprob_sum, no_speech_prob = list(task.initial_tokens), Draw([sampling]), 0.0, 0.0
        filters, times = [rule for rule in task.logit_filters if not isinstance(rule, ApplyTimestampRules)], self._times(task.tokenizer)
        tokens, ended, lost = list(begin), False, False
        budget = min(budget, task.sample_len, task.n_ctx - len(begin))
        while len(tokens) - len(begin) < budget:
            fresh = mx.array([tokens if len(tokens) == len(begin) else tokens[-1:]])
            logits = task.inference.logits(fresh, features)
            if len(tokens) == len(begin) and (no_speech := task.tokenizer.no_speech) is not None:
                no_speech_prob = float(mx.softmax(logits[0, task.sot_index], axis=-1)[no_speech])
            last = logits[:, -1]
            for rule in filters:
                last = rule.apply(last, mx.array([tokens]))
            last = times.apply(last, tokens[len(begin) :])
            token, logprob = drawn_of(last, draw, first_place + len(tokens))
            logprob_sum += logprob
            yield
            if ended := token == task.tokenizer.eot:
                break
            tokens.append(token)
            if lost := loops([token for token in tokens[len(begin) :] if token < task.tokenizer.eot]):
                break
        drawn = tokens[len(begin) :]
        repeats = lost or compresses_too_well(task.tokenizer.decode([token for token in drawn if token < task.tokenizer.eot]))
        return _Drawn(tuple(drawn), ended, repeats, logprob_sum / (len(drawn) + 1), no_speech_prob, len(begin))

    def _times(self, tokenizer: Any) -> TimeRules:  # noqa: ANN401 - of mlx-audio
        return TimeRules(
            vocabulary=self._model.dims.n_vocab,
            end=tokenizer.eot,
            no_times=tokenizer.no_timestamps,
            first_mark=tokenizer.timestamp_begin,
            latest_start=_LATEST_START,
        )

    def _words(self, features: mx.array, stretches: Sequence[Stretch], seconds: float, tokenizer: object) -> tuple[Word, ...]:
        segments: list[dict[str, Any]] = [
            {"seek": 0, "start": part.start_s, "end": part.end_s, "tokens": list(part.ids)} for part in stretches
        ]
        add_word_timestamps(
            segments=segments,
            model=_Encoded(self._model),
            tokenizer=tokenizer,
            mel=features[0],
            num_frames=round(seconds * 100),
            last_speech_timestamp=0.0,
        )
        return tuple(
            Word(word["start"], word["end"], word["word"].strip()) for part in segments for word in part["words"] if word["word"].strip()
        )


class _Encoded:
    """A model for which the aligner need not encode the same sound again."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - of mlx-audio
        self._model = model
        self.alignment_heads = model.alignment_heads

    def forward_with_cross_qk(self, features: mx.array, tokens: mx.array) -> tuple[mx.array, list[mx.array]]:
        """Return the logits, and what each layer attends to."""
        logits, _, attended = self._model.decoder(tokens, features)
        return logits, attended


def _moved(take: Take, by_s: float) -> Take:
    segments = tuple(part._replace(start_s=part.start_s + by_s, end_s=part.end_s + by_s) for part in take.segments)
    return replace(take, segments=segments, words=tuple(w._replace(start_s=w.start_s + by_s, end_s=w.end_s + by_s) for w in take.words))


def _joined(takes: Sequence[Take], language: str | None) -> Take:
    return Take(
        text="".join(take.text for take in takes).strip(),
        ids=tuple(token for take in takes for token in take.ids),
        language=language if any(take.text.strip() for take in takes) else None,
        segments=tuple(segment for take in takes for segment in take.segments),
        words=tuple(word for take in takes for word in take.words),
        cut_off=max((take.cut_off for take in takes), default=0),
        repeats=any(take.repeats for take in takes),
        prompt_tokens=sum(take.prompt_tokens for take in takes),
        completion_tokens=sum(take.completion_tokens for take in takes),
    )
