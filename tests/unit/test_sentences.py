"""Text is cut where a voice may pause, and nothing of it is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engines.sentences import LONGEST, cut, sayable, weight

LONG = "The river rises in the hills north of the town and runs past the old mill before it reaches the sea."
LONG_CHINESE = "今天早上我们一起去公园散步的时候看见了很多漂亮的花还有在湖边钓鱼的老人。"


@pytest.mark.parametrize("end", [".", "!", "?", "...", "…", "?!", '."', ".”", ".)"])
def test_latin_sentences_end_at_their_marks_and_what_closes_them(end: str) -> None:
    first = f"{LONG[:-1]}{end}"
    assert cut(f"{first} {LONG}") == [first, LONG]


@pytest.mark.parametrize("end", ["。", "！", "？", "。”", "……。", "？！"])
def test_chinese_sentences_end_without_a_space(end: str) -> None:
    first = f"{LONG_CHINESE[:-1]}{end}"
    assert cut(f"{first}{LONG_CHINESE}") == [first, LONG_CHINESE]


@pytest.mark.parametrize(
    "text",
    [
        "Pi is 3.14 and not more",
        "Ask Dr. Smith and Mrs. Jones",
        "It costs $1.50, e.g. Tuesdays",
        "J. R. Tolkien wrote it",
        "She went at 5 p.m. and came back",
        "Version 2.0.1 of example.com is out",
        "Am 3. Oktober ist frei",
        "Wait... there is more",
        "Dr. Müller kommt z.B. Montag",
    ],
)
def test_a_stop_that_ends_no_sentence_does_not_cut(text: str) -> None:
    both = f"{text}, {LONG}"
    assert cut(both) == [both]


def test_short_sentences_stay_together_and_long_ones_do_not() -> None:
    assert cut("Yes. No. Perhaps.") == ["Yes. No. Perhaps."]
    assert cut(f"{LONG} {LONG}") == [LONG, LONG]


def test_paragraphs_are_never_joined_and_wrapped_lines_are() -> None:
    assert cut("Title\n\nOne.\nTwo.") == ["Title", "One.", "Two."]
    assert cut("a line that was\nwrapped here.") == ["a line that was\nwrapped here."]


def test_a_sentence_too_long_is_cut_at_a_clause_else_at_a_word() -> None:
    clauses = cut(f"{'word ' * 30}here, {'more ' * 40}.")
    assert clauses[0].endswith("here,")
    words = cut("word " * 200)
    assert all(piece.split() == ["word"] * (len(piece) // 5 + 1) for piece in words)


def test_letters_keep_their_accents_wherever_a_cut_must_be() -> None:
    pieces = cut("e\u0301" * 500)
    assert all(piece.startswith("e") and piece.endswith("\u0301") for piece in pieces)


def test_only_letters_and_digits_can_be_said() -> None:
    assert [sayable(text) for text in ("a", "5", "你", "…", "😀", " — ", "")] == [True, True, True, False, False, False, False]


PIECES = st.sampled_from(
    ["a", "Bc", " ", "\n", "\n\n", ".", "!", "?", "。", "，", ",", "你好", "3.14", "Dr.", "…", "”", "word ", "e\u0301", "😀", "\u200d"]
)
TEXTS = st.lists(PIECES, max_size=400).map("".join) | st.text(max_size=300)


@given(TEXTS)
def test_joined_again_it_has_every_character_but_spaces(text: str) -> None:
    assert "".join("".join(cut(text)).split()) == "".join(text.split())


@given(TEXTS)
def test_no_piece_is_empty_or_longer_than_a_voice_can_say(text: str) -> None:
    for piece in cut(text):
        assert piece.strip() == piece != ""
        assert weight(piece) <= LONGEST
