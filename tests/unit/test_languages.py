"""A language is understood by code and by name, as people write them."""

from __future__ import annotations

import pytest
from mlx_audio.stt.models.whisper import tokenizer as whisper

from app.audio.languages import LANGUAGES, find_language
from app.errors import InvalidRequest

_QWEN3_ASR = [
    "Chinese",
    "English",
    "Cantonese",
    "Arabic",
    "German",
    "French",
    "Spanish",
    "Portuguese",
    "Indonesian",
    "Italian",
    "Korean",
    "Russian",
    "Thai",
    "Vietnamese",
    "Japanese",
    "Turkish",
    "Hindi",
    "Malay",
    "Dutch",
    "Swedish",
    "Danish",
    "Finnish",
    "Polish",
    "Czech",
    "Filipino",
    "Persian",
    "Greek",
    "Hungarian",
    "Macedonian",
    "Romanian",
]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("English", "en"),
        (" english ", "en"),
        ("eng", "en"),
        ("en-GB", "en"),
        ("zh-CN", "zh"),
        ("zh_Hant_HK", "zh"),
        ("cmn-Hans", "zh"),
        ("Mandarin", "zh"),
        ("yue", "yue"),
        ("zh-yue", "yue"),
        ("Cantonese", "yue"),
        ("de", "de"),
        ("ger", "de"),
        ("deu", "de"),
        ("Haitian  Creole", "ht"),
        ("jw", "jv"),
        ("iw", "he"),
        ("pt_BR", "pt"),
    ],
)
def test_a_language_is_understood(text: str, code: str) -> None:
    assert find_language(text).code == code


def test_each_language_is_found_by_its_codes_and_its_name() -> None:
    for language in LANGUAGES:
        assert {find_language(word) for word in (language.code, language.code_3, language.name)} == {language}


@pytest.mark.parametrize("code", whisper.LANGUAGES)
def test_whisper_and_we_mean_the_same(code: str) -> None:
    language = find_language(code)
    assert language.whisper_code == code
    assert find_language(whisper.LANGUAGES[code]) == language


def test_other_names_that_whisper_takes_are_taken() -> None:
    assert {name: find_language(name).whisper_code for name in whisper.TO_LANGUAGE_CODE} == whisper.TO_LANGUAGE_CODE


@pytest.mark.parametrize("name", _QWEN3_ASR)
def test_qwen3_asr_is_told_the_names_it_knows(name: str) -> None:
    assert find_language(name).name == name


@pytest.mark.parametrize("text", ["", "xx", "Klingon", "-", "e" * 5000, "zh中"])
def test_an_unknown_language_is_refused_and_a_few_are_named(text: str) -> None:
    with pytest.raises(InvalidRequest, match="en, zh, yue") as caught:
        find_language(text)
    assert caught.value.param == "language"
    assert len(caught.value.message) < 250


def test_a_slip_gets_a_hint() -> None:
    with pytest.raises(InvalidRequest, match="Did you mean 'english'"):
        find_language("Englsih")
