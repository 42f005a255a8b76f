"""One answer: what is shown, where it ends, and that a replay says the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from app.engines.answer import Answer
from app.engines.channels import Channels
from app.engines.detokenize import ByteDetokenizer
from app.engines.markup import PLAIN
from app.engines.protocols import Sampling, TextWork

EOS = 256
PIECES = [bytes([value]) for value in range(256)]


def answer_to(*, stop: tuple[str, ...] = (), max_tokens: int = 1000, published: bytes = b"", ends_loops: bool = False) -> Answer:
    work = TextWork("w", (1,), max_tokens, Sampling(seed=1), stop, tuple(published), ends_loops=ends_loops)
    return Answer(work, lambda: ByteDetokenizer(PIECES, strip_first_space=False), frozenset({EOS}))


def shown(answer: Answer, ids: list[int]) -> str:
    text = ""
    for token in ids:
        if answer.finish is None:
            text += answer.take(token).text
    return text


def test_a_stop_string_ends_the_answer_before_itself_also_across_tokens() -> None:
    answer = answer_to(stop=("\nUser:",))
    assert shown(answer, list(b"Paris.\nUser: and")) == "Paris."
    assert answer.finish == "stop"
    assert bytes(answer.ids) == b"Paris.\nUser:"


def test_what_looks_like_a_stop_string_and_is_none_comes_out_in_full() -> None:
    answer = answer_to(stop=("###",))
    assert shown(answer, [*b"a ## b #", EOS]) == "a ## b #"
    assert answer.finish == "stop"


def test_text_held_back_comes_out_when_the_tokens_run_out() -> None:
    answer = answer_to(stop=("###",), max_tokens=4)
    assert shown(answer, list(b"ab##c")) == "ab##"
    assert answer.finish == "length"


def test_an_answer_that_repeats_itself_for_ever_is_over_where_that_is_asked_for() -> None:
    said = list(b"Total " + b"0.00 | " * 100)
    patient = answer_to()
    assert shown(patient, said).endswith("0.00 | ")
    assert (patient.finish, patient.looped) == (None, False)
    strict = answer_to(ends_loops=True)
    text = shown(strict, said)
    assert text.startswith("Total 0.00 | 0.00 | ")
    assert len(text) < 100
    assert (strict.finish, strict.looped) == ("length", True)
    ordinary = answer_to(ends_loops=True)
    assert shown(ordinary, [*b"1 1 1 1, 2 2 2 2, 3 3 3 3; ha ha ha ha ha!", EOS]).endswith("ha!")
    assert (ordinary.finish, ordinary.looped) == ("stop", False)


def test_a_stop_string_completed_by_the_last_token_is_a_stop() -> None:
    answer = answer_to(stop=("ab",), max_tokens=2)
    assert shown(answer, list(b"ab")) == ""
    assert (answer.finish, answer.stopped_by) == ("stop", "ab")


def test_the_end_token_counts_and_has_no_text() -> None:
    answer = answer_to()
    assert shown(answer, [*b"hi", EOS]) == "hi"
    assert len(answer.ids) == 3


def test_a_character_cut_by_the_length_is_shown_as_one_replacement() -> None:
    answer = answer_to(max_tokens=3)
    assert shown(answer, list("🙂".encode())) == "\ufffd"


def test_the_first_of_several_stop_strings_to_be_complete_wins_however_text_is_grouped() -> None:
    for pieces in (["abcd"], ["a", "b", "c", "d"], ["ab", "cd"]):
        channels = Channels(PLAIN, ("abcd", "c"))
        assert "".join(text for piece in pieces for _, text in channels.push(piece)) == "ab"
        assert channels.stopped_by == "c"


def test_an_answer_that_an_earlier_attempt_had_completed_is_complete() -> None:
    assert answer_to(published=b"abc", max_tokens=3).finish == "length"
    assert answer_to(published=b"abc.", stop=(".",)).finish == "stop"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab#é🙂", max_size=12), st.integers(0, 60), st.sampled_from([(), ("#",), ("a#", "b"), ("ééé", "##")]))
def test_a_replay_of_any_beginning_goes_on_as_if_there_had_been_no_break(text: str, cut: int, stop: tuple[str, ...]) -> None:
    ids = [*text.encode(), EOS]
    whole = answer_to(stop=stop)
    expected = shown(whole, ids)
    first = answer_to(stop=stop)
    before = shown(first, ids[:cut])
    resumed = answer_to(stop=stop, published=bytes(token for token in ids[:cut] if token != EOS))
    if cut < len(ids):
        before += shown(resumed, ids[len(resumed.ids) :])
        assert (resumed.ids, resumed.finish) == (whole.ids, whole.finish)
    assert before == expected


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab#", max_size=20), st.lists(st.text(alphabet="ab#", min_size=1, max_size=3), max_size=3))
def test_shown_text_is_the_text_up_to_the_first_completed_stop_string(text: str, stops: list[str]) -> None:
    ends = [end for end in range(1, len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    if ends:
        longest = max((stop for stop in stops if text[: ends[0]].endswith(stop)), key=len)
        expected = text[: ends[0] - len(longest)]
    else:
        expected = text
    assert shown(answer_to(stop=tuple(stops)), [*text.encode(), EOS]) == expected
