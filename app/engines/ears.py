"""The families that hear: what each can do, and how it is loaded. Chosen by a model's ``config.json``.

The half that needs no GPU. Weights are named here and read by the load.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from app.engines.languages import QWEN_LANGUAGES
from app.engines.tokenizing import Tokenizing
from app.errors import ModelLoadFailed
from app.models.footprint import HEARD_TOKENS

if TYPE_CHECKING:
    from mlx import nn

    from app.engines.checkpoint import Checkpoint
    from app.engines.listening import Listener

__all__ = ["Ears", "ears_of"]

_MULTILINGUAL_VOCABULARY = 51865


class Ears(Protocol):
    """What a family says of one model, and how it loads it."""

    context: int  # tokens of prompt, sound and text of one stretch
    longest_chunk_s: float
    languages: Mapping[str, str]  # ISO code -> English name
    words: bool
    why_no_words: str
    translates: bool
    why_no_translation: str
    most_told: int  # tokens of prompt and hot words

    def told_tokens(self, prompt: str, hotwords: Sequence[str]) -> int:
        """Return how many tokens the model would be told, of what it cannot shorten by itself."""
        ...

    def load(self) -> nn.Module:
        """Return the model with weights that are read when they are evaluated. On the GPU thread."""
        ...

    def listener(self, model: nn.Module) -> Listener:
        """Return the listener over *model*. On the GPU thread."""
        ...


def ears_of(model_id: str, checkpoint: Checkpoint) -> Ears:
    """Return the family of *checkpoint*.

    Raises:
        ModelLoadFailed: It is none that hears here.
    """
    nested = checkpoint.config.get("thinker_config")
    inner = nested.get("model_type") if isinstance(nested, Mapping) else None
    if checkpoint.model_type == "whisper":
        return WhisperEars(checkpoint)
    if checkpoint.model_type == "qwen3_asr" and inner != "qwen3_forced_aligner":
        return Qwen3AsrEars(checkpoint)
    msg = f"{model_id} is of the architecture {inner or checkpoint.model_type!r}, which cannot write down speech here."
    raise ModelLoadFailed(msg)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Figures of a Whisper, in either of its configuration's spellings."""

    vocabulary: int
    encoder_layers: int
    decoder_layers: int
    text_context: int

    @classmethod
    def of(cls, config: Mapping[str, object]) -> _Shape:
        def whole(*names: str) -> int:
            return next((value for name in names if isinstance(value := config.get(name), int)), 0)

        return cls(
            whole("n_vocab", "vocab_size"),
            whole("n_audio_layer", "encoder_layers"),
            whole("n_text_layer", "decoder_layers"),
            whole("n_text_ctx", "max_target_positions"),
        )


class WhisperEars:
    """Whisper: one of OpenAI's, English alone or multilingual."""

    longest_chunk_s = 30.0
    words = True
    why_no_words = ""

    def __init__(self, checkpoint: Checkpoint) -> None:
        from app.engines.whisper_library import WHISPER_LANGUAGES

        self._checkpoint = checkpoint
        self._tokenizing = Tokenizing(checkpoint)
        shape = _Shape.of(checkpoint.config)
        multilingual = shape.vocabulary >= _MULTILINGUAL_VOCABULARY
        count = shape.vocabulary - _MULTILINGUAL_VOCABULARY + 99 if multilingual else 1  # large-v3 learnt one more, Cantonese
        self.languages: Mapping[str, str] = dict(list(WHISPER_LANGUAGES.items())[:count])
        self.context = shape.text_context
        self.most_told = shape.text_context // 2 - 1
        # Those with a smaller decoder (turbo, distil) were taught to transcribe alone, and answer in the language they hear.
        self.translates = multilingual and shape.decoder_layers == shape.encoder_layers
        reason = "it was taught to transcribe alone" if multilingual else "it knows English alone"
        self.why_no_translation = (
            f"{reason}. Name a multilingual Whisper with a whole decoder, such as mlx-community/whisper-large-v3-asr-fp16, "
            "which `mlx-local models pull` adds."
        )

    def told_tokens(self, prompt: str, hotwords: Sequence[str]) -> int:
        """Return the tokens of the hot words: of a prompt the model takes the end, as OpenAI's own does."""
        del prompt
        return len(self._tokenizing.encode(", ".join(hotwords))) if hotwords else 0

    def load(self) -> nn.Module:
        """Return the model with weights that are read when they are evaluated."""
        from app.engines.whisper_library import load_whisper

        mine = self._checkpoint
        return load_whisper(mine.directory, mine.config, mine.generation, copy.deepcopy(self._tokenizing.tokenizer))

    def listener(self, model: nn.Module) -> Listener:
        """Return the listener over *model*."""
        from app.engines.whisper_library import WhisperListener

        return WhisperListener(model)


class Qwen3AsrEars:
    """Qwen3-ASR: thirty languages, told beforehand in a system prompt."""

    longest_chunk_s = 30.0
    words = False
    why_no_words = "it marks no times, so its segments are whole chunks. Ask for segments, or name a Whisper model for words."
    translates = False
    why_no_translation = "it writes down what it hears in the language that is spoken. Name a multilingual Whisper model for that."
    most_told = 1024

    def __init__(self, checkpoint: Checkpoint) -> None:
        from transformers import WhisperFeatureExtractor

        self._checkpoint = checkpoint
        self._tokenizing = Tokenizing(checkpoint)
        try:
            self._features = WhisperFeatureExtractor.from_pretrained(checkpoint.directory, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            msg = f"{checkpoint.directory.name} has no preprocessor_config.json that can be used: {error}"
            raise ModelLoadFailed(msg) from error
        stated = {str(name).lower() for name in checkpoint.config.get("support_languages") or ()}
        self.languages: Mapping[str, str] = {code: name for code, name in QWEN_LANGUAGES.items() if not stated or name.lower() in stated}
        self.context = HEARD_TOKENS

    def told_tokens(self, prompt: str, hotwords: Sequence[str]) -> int:
        """Return the tokens of prompt and hot words."""
        return len(self._tokenizing.encode("\n".join(filter(None, (prompt, ", ".join(hotwords))))))

    def load(self) -> nn.Module:
        """Return the model with weights that are read when they are evaluated."""
        from app.engines.qwen3_asr_library import load_qwen3_asr

        mine = self._checkpoint
        return load_qwen3_asr(mine.directory, mine.config, copy.deepcopy(self._tokenizing.tokenizer), self._features)

    def listener(self, model: nn.Module) -> Listener:
        """Return the listener over *model*."""
        from app.engines.qwen3_asr_library import Qwen3AsrListener

        return Qwen3AsrListener(model, context=self.context, longest_s=self.longest_chunk_s)
