"""What a model is asked about a piece is in the words of its language, and has what the user knows."""

from __future__ import annotations

import pytest

from app.correction.prompts import Asked, answer_budget, fitting, messages


def asked(language: str | None, name: str | None = None, **more: object) -> tuple[str, str]:
    system, user = messages("the piece ", "", Asked(language, name)._replace(**more))  # type: ignore[arg-type]
    assert (system["role"], user["role"]) == ("system", "user")
    return system["content"], user["content"]


def test_mandarin_and_cantonese_are_asked_for_in_chinese_and_keep_cantonese_words() -> None:
    assert asked("zh") == asked("yue")
    for wanted in ("粤语", "嘅", "绝对不要翻译", "【?词】"):
        assert wanted in asked("yue")[0]


@pytest.mark.parametrize(("language", "name"), [("de", "German"), ("ja", "Japanese"), (None, None)])
def test_other_languages_are_named_and_never_translated(language: str | None, name: str | None) -> None:
    text = asked(language, name)[0]
    assert f"Never translate: every word stays in the language in which it was said, {name or 'the language'}" in text
    assert "【?word】" in text
    assert "{" not in text


def test_english_has_words_of_its_own() -> None:
    assert 'fillers such as "um"' in asked("en")[0]


def test_hot_words_and_additions_join_the_question() -> None:
    text = asked("en", hotwords=("Basel", "Kowalczyk"), additions="  Write numbers as digits. ")[0]
    assert text.endswith("Words that are likely to occur: Basel, Kowalczyk\nBesides: Write numbers as digits.")
    assert "可能出现的词：张伟、中环" in asked("yue", hotwords=("张伟", "中环"))[0]


def test_more_hot_words_than_there_is_room_for_are_left_out_from_the_end() -> None:
    words = tuple(f"word{n:04}" for n in range(1000))
    text = asked("en", hotwords=words)[0]
    assert 0 < fitting(words) < len(words)
    assert words[fitting(words) - 1] in text
    assert words[fitting(words)] not in text


def test_what_came_before_is_told_apart_from_the_piece() -> None:
    with_context = messages("the piece ", "What came before.", Asked("en", "English"))[1]["content"]
    assert with_context == "<before>\nWhat came before.\n</before>\n<transcript>\nthe piece\n</transcript>"
    assert asked("en")[1] == "<transcript>\nthe piece\n</transcript>"


def test_an_answer_has_room_by_the_length_of_its_piece_in_any_script() -> None:
    assert answer_budget("a" * 2000) == 1096
    assert answer_budget("字" * 2000) == 3096
