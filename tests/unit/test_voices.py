"""Voices by name and languages by name or code, of models as they are published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import InvalidRequest
from app.models.voices import OPENAI_VOICES, Voices, voices_of

SPEAKERS = ("serena", "vivian", "uncle_fu", "ryan", "aiden", "ono_anna", "sohee", "eric", "dylan")
LANGUAGES = ("chinese", "english", "german", "beijing_dialect")


def model(kind: str, *, size: str = "1b7", speakers: tuple[str, ...] = SPEAKERS) -> Voices:
    talker: dict[str, Any] = {
        "spk_id": {name: place for place, name in enumerate(speakers)},
        "codec_language_id": {name: place for place, name in enumerate(LANGUAGES)},
    }
    found = voices_of({"model_type": "qwen3_tts", "tts_model_type": kind, "tts_model_size": size, "talker_config": talker})
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["vivian", "Vivian", " VIVIAN "])
def test_a_speaker_is_found_whatever_its_case(name: str) -> None:
    assert model("custom_voice").speaker(name) == "vivian"


@pytest.mark.parametrize("name", OPENAI_VOICES)
def test_every_name_of_openai_is_a_speaker_of_the_model(name: str) -> None:
    assert model("custom_voice").speaker(name) == OPENAI_VOICES[name]
    assert model("custom_voice", speakers=("anna", "bob")).speaker(name.upper()) in {"anna", "bob"}


def test_a_model_s_own_speaker_comes_before_openai_s_name() -> None:
    assert model("custom_voice", speakers=("vivian", "Alloy")).speaker("alloy") == "Alloy"


def test_a_request_without_a_voice_has_the_default_one() -> None:
    assert model("custom_voice").speaker(None) == model("custom_voice").speaker("alloy")


def test_an_unknown_voice_is_refused_with_the_names_of_the_known() -> None:
    with pytest.raises(InvalidRequest) as caught:
        model("custom_voice").speaker("hal")
    assert caught.value.param == "voice"
    for name in (*SPEAKERS, *OPENAI_VOICES):
        assert name in caught.value.message


@pytest.mark.parametrize("kind", ["voice_design", "base"])
def test_models_without_names_take_openai_s_and_refuse_others(kind: str) -> None:
    assert model(kind).speaker(None) is model(kind).speaker("alloy") is None
    with pytest.raises(InvalidRequest, match=r"no voice 'vivian'"):
        model(kind).speaker("vivian")


@pytest.mark.parametrize("asked", ["english", "English", "en", "en-GB", "EN_us"])
def test_a_language_is_known_by_name_and_by_code(asked: str) -> None:
    assert model("base").language(asked) == "english"


def test_a_language_is_found_out_by_the_model_unless_it_is_said() -> None:
    assert model("base").language(None) == model("base").language("auto") == "auto"
    assert model("base").language("beijing_dialect") == "beijing_dialect"


@pytest.mark.parametrize("asked", ["fr", "klingon", "-"])
def test_a_language_that_the_model_lacks_is_refused_with_those_it_has(asked: str) -> None:
    with pytest.raises(InvalidRequest, match="chinese, english") as caught:
        model("base").language(asked)
    assert caught.value.param == "language"


def test_the_page_shows_what_openai_s_names_mean() -> None:
    page = (Path(__file__).parents[2] / "docs" / "voices.md").read_text(encoding="utf-8")
    for name, speaker in OPENAI_VOICES.items():
        assert f"| `{name}` | {speaker} |" in page


def test_who_takes_instructions() -> None:
    assert model("custom_voice").takes_instructions
    assert model("voice_design").takes_instructions
    assert not model("custom_voice", size="0b6").takes_instructions
    assert not model("base").takes_instructions


@pytest.mark.parametrize("config", [{}, {"model_type": "kokoro"}, {"model_type": "qwen3_tts", "tts_model_type": "sung"}])
def test_other_families_offer_nothing(config: dict[str, Any]) -> None:
    assert voices_of(config) is None
