"""A transcript is cut into pieces that are the text again when joined, at the ends of sentences; and into paragraphs by its pauses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audio.paragraphs import in_paragraphs
from app.audio.subtitles import Segment
from app.correction.pieces import cut, last_sentences
from app.sentence_ends import ends_sentence, sentences

_SENTENCES = st.sampled_from(
    ["We left. ", "Dr. Smith paid $3.50, e.g. on Tuesdays! ", "Why? ", "我们走了。", "佢哋返咗屋企！", "เราไปแล้ว ", "so on ", "\n\n"]
)
_TEXTS = st.lists(_SENTENCES, max_size=60).map("".join) | st.text(max_size=400)


@given(_TEXTS, st.integers(20, 300))
def test_pieces_are_the_text_and_none_is_longer_than_it_may_be(text: str, longest: int) -> None:
    pieces = cut(text, longest)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= longest for piece in pieces)


_WHOLE = st.sampled_from(["We left the house. ", "Why did she? ", "我们昨天走了。", "It is 3.5 km, e.g. by bus. "])


@given(st.lists(_WHOLE, min_size=1, max_size=60))
def test_no_piece_ends_inside_a_sentence(said: list[str]) -> None:
    text = "".join(said)
    ends, place = {0}, 0
    for sentence in sentences(text):
        ends.add(place := place + len(sentence))
    place = 0
    for piece in cut(text, 100):
        place += len(piece)
        assert place in ends


def test_pieces_share_a_text_evenly_rather_than_leave_a_few_words() -> None:
    lengths = [len(piece) for piece in cut("We went home at noon. " * 100, 2000)]
    assert len(lengths) == 2
    assert max(lengths) - min(lengths) <= 22


def test_a_sentence_that_is_too_long_is_cut_between_words() -> None:
    assert all(piece.endswith("word ") for piece in cut("word " * 1000, 400))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("One. Two.", "One. Two."),
        ("A long way. " * 30 + "The end.", "A long way. " * 19 + "The end."),
        ("word " * 100, "word " * 46 + "word"),
        ("他走了。" * 100, "他走了。" * 60),
    ],
)
def test_the_next_piece_is_told_the_last_sentences(text: str, told: str) -> None:
    assert last_sentences(text) == told.strip()
    assert len(last_sentences(text)) <= 240


@pytest.mark.parametrize(
    ("text", "ends"), [("He left.", True), ("He left. ", True), ("with Dr.", False), ("他走了。", True), ("so then", False), ("", False)]
)
def test_what_ends_a_sentence(text: str, ends: bool) -> None:  # noqa: FBT001 - a table's column
    assert ends_sentence(text) is ends


def said(*segments: tuple[float, float, str]) -> str:
    return in_paragraphs(Segment(*segment) for segment in segments)


def test_a_pause_behind_a_sentence_begins_a_paragraph() -> None:
    assert said((0, 2, " We left."), (2.5, 4, " It rained."), (6, 8, " Then home.")) == "We left. It rained.\n\nThen home."
    assert said((0, 2, "We"), (4.5, 6, "left."), (11.5, 12, "Then")) == "We left.\n\nThen"
    assert said((0, 2, "We"), (7.5, 8, "left.")) == "We\n\nleft."
    assert said((0, 2, "我们走了。"), (2.2, 4, "下雨了。"), (6, 8, "")) == "我们走了。下雨了。"


def test_a_long_paragraph_ends_with_its_sentence() -> None:
    text = said(*((n, n + 1, "It rained all day long.") for n in range(100)))
    assert {len(paragraph) for paragraph in text.split("\n\n")[:-1]} == {815}
