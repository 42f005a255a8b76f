"""Likelihoods come out of a stream as they went in, and look as OpenAI's do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.chat_completion import ChoiceLogprobs
from openai.types.completion_choice import Logprobs

from app.jobs.logprobs import chat_logprobs, completion_logprobs, packed, unpacked

VALUES = st.floats(-9999, 0)
TOKENS = st.binary(max_size=4) | st.text(max_size=3).map(str.encode)
LIKELIHOODS = st.lists(st.tuples(TOKENS, VALUES, st.lists(st.tuples(TOKENS, VALUES), max_size=3).map(tuple)), max_size=4)


@given(LIKELIHOODS)
def test_a_stream_gives_back_what_it_was_given(given: list[tuple[bytes, float, tuple[tuple[bytes, float], ...]]]) -> None:
    packed(given).encode()
    assert list(unpacked(packed(given))) == given


@given(LIKELIHOODS)
def test_any_bytes_have_a_shape_that_openai_s_client_knows(given: list[tuple[bytes, float, tuple[tuple[bytes, float], ...]]]) -> None:
    chat = ChoiceLogprobs.model_validate(chat_logprobs(given), strict=True)
    assert [bytes(one.bytes or []) for one in chat.content or []] == [token for token, _, _ in given]
    Logprobs.model_validate(completion_logprobs(given), strict=True)


def test_pieces_of_a_character_are_shown_as_escapes_and_counted_as_shown() -> None:
    first, second = "é".encode()[:1], "é".encode()[1:]
    shown = completion_logprobs([(b"caf", -0.5, ()), (first, -1.0, ()), (second, -2.0, ())], 10)
    assert shown["tokens"] == ["caf", "\\xc3", "\\xa9"]
    assert shown["text_offset"] == [10, 13, 17]
    assert shown["top_logprobs"] is None


def test_the_drawn_token_is_among_a_completion_s_likeliest() -> None:
    (top,) = completion_logprobs([(b"odd", -5.0, ((b"a", -0.1), (b"b", -2.0)))])["top_logprobs"]
    assert top == {"a": -0.1, "b": -2.0, "odd": -5.0}
