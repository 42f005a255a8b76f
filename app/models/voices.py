"""Whose voices a model speaks with, and in which languages, by its configuration. Pure; no mlx.

A model of the Qwen3-TTS family is one of three. One of *named* voices has speakers
of its own; OpenAI's names stand for some of them, so that clients of OpenAI's work
as they are. One that *designs* voices speaks as the instructions say. One that
*clones* speaks like a recording. The last two have no names: OpenAI's are taken
and mean nothing there, because clients cannot leave them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.errors import InvalidRequest

__all__ = ["OPENAI_VOICES", "VoiceSource", "Voices", "voices_of"]

VoiceSource = Literal["named", "design", "clone"]

OPENAI_VOICES: Mapping[str, str] = {
    "alloy": "vivian",
    "ash": "ryan",
    "ballad": "uncle_fu",
    "cedar": "aiden",
    "coral": "serena",
    "echo": "ryan",
    "fable": "aiden",
    "marin": "vivian",
    "nova": "serena",
    "onyx": "uncle_fu",
    "sage": "sohee",
    "shimmer": "ono_anna",
    "verse": "aiden",
}
"""OpenAI's names and whom of Qwen3-TTS's own speakers they stand for: women for women, men for men. ``alloy`` is the default."""

_SOURCES: Mapping[str, VoiceSource] = {"custom_voice": "named", "voice_design": "design", "base": "clone"}
_DEFAULT = "alloy"
_AUTO = "auto"
_BY_CODE = {
    "zh": "chinese", "en": "english", "de": "german", "it": "italian", "pt": "portuguese", "es": "spanish", "ja": "japanese",
    "ko": "korean", "fr": "french", "ru": "russian",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Voices:
    """What one model offers."""

    source: VoiceSource
    speakers: tuple[str, ...]  # as the configuration spells them; empty unless the source is ``named``
    languages: tuple[str, ...]  # ``auto`` first
    takes_instructions: bool

    @property
    def aliases(self) -> Mapping[str, str]:
        """OpenAI's names, and the speakers that they stand for in this model."""
        if not self.speakers:
            return {}
        known = {speaker.lower(): speaker for speaker in self.speakers}
        others = enumerate(OPENAI_VOICES.items())
        return {name: known.get(meant, self.speakers[place % len(self.speakers)]) for place, (name, meant) in others}

    def speaker(self, voice: str | None) -> str | None:
        """Return whom *voice* means, whatever its case; None where the model's voices have no names.

        Raises:
            InvalidRequest: Nobody. It names those who are known.
        """
        name = (voice or _DEFAULT).strip().lower()
        if not self.speakers:
            if name in OPENAI_VOICES:
                return None
            how = "instructions describe its voice" if self.source == "design" else "it speaks like the recording ref_audio"
            msg = f"This model has no voice {voice!r}: {how}. Leave voice out."
            raise InvalidRequest(msg, param="voice")
        known = {speaker.lower(): speaker for speaker in self.speakers}
        found = known.get(name) or self.aliases.get(name)
        if found is None:
            own, openai = ", ".join(self.speakers), ", ".join(OPENAI_VOICES)
            msg = f"There is no voice {voice!r}. This model has {own}, and knows OpenAI's names: {openai}."
            raise InvalidRequest(msg, param="voice")
        return found

    def language(self, asked: str | None) -> str:
        """Return the language that *asked* means, a name or a code such as ``en`` or ``en-US``; ``auto`` where nothing is asked for.

        Raises:
            InvalidRequest: The model does not speak it.
        """
        name = (asked or _AUTO).strip().lower()
        known = {language.lower(): language for language in self.languages}
        found = known.get(name) or known.get(_BY_CODE.get(name.replace("_", "-").partition("-")[0], ""))
        if found is None:
            msg = f"This model does not speak {asked!r}. It speaks {', '.join(self.languages)}."
            raise InvalidRequest(msg, param="language")
        return found


def voices_of(config: Mapping[str, Any]) -> Voices | None:
    """Return what the model with this ``config.json`` offers; None where it is of no family that is known here."""
    source = _SOURCES.get(str(config.get("tts_model_type", "base")))
    talker = config.get("talker_config")
    if config.get("model_type") != "qwen3_tts" or source is None or not isinstance(talker, Mapping):
        return None
    speakers, languages = talker.get("spk_id"), talker.get("codec_language_id")
    return Voices(
        source=source,
        speakers=tuple(speakers) if source == "named" and isinstance(speakers, Mapping) else (),
        languages=(_AUTO, *(languages if isinstance(languages, Mapping) else ())),
        # The small model of named voices was not taught to follow instructions.
        takes_instructions=source == "design" or (source == "named" and config.get("tts_model_size") != "0b6"),
    )
