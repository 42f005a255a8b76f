"""Text from tokens: nothing split, nothing lost, nothing invented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from app.engines.detokenize import ByteDetokenizer, Detokenizer, detokenizer_for

SPECIAL = ["<|end|>", "<|pad|>"]


def byte_level() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={character: number for number, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken(" 思考é", special=False)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")  # type: ignore[no-untyped-call]


def sentencepiece(*, strip: bool) -> PreTrainedTokenizerFast:
    pieces = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁Paris", "▁is", "é", "猫"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strip else steps)
    tokenizer.add_special_tokens([AddedToken("<unk>", special=True), AddedToken("<s>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")  # type: ignore[no-untyped-call]


def wordpiece() -> PreTrainedTokenizerFast:
    vocabulary = {"[UNK]": 0, "the": 1, "cat": 2, "##s": 3, "sat": 4, "é": 5}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken("[UNK]", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")  # type: ignore[no-untyped-call]


def ids_of(tokenizer: PreTrainedTokenizerFast, tokens: list[str]) -> list[int]:
    return [cast("int", tokenizer.convert_tokens_to_ids(token)) for token in tokens]


def pieces_of(detokenizer: Detokenizer, ids: list[int]) -> list[str]:
    return [*(detokenizer.push(token) for token in ids), detokenizer.finish()]


BYTES = byte_level()
NEW_BYTES = detokenizer_for(BYTES)


@pytest.mark.parametrize(
    "text", ["naïve café", "猫が好き", "👩‍👩‍👧‍👦 and 🇫🇷", " leading space", "\n\n\ttabs ", "nul \x00 byte", "a\ufffdb"]
)
def test_text_split_into_bytes_comes_back_whole_and_no_piece_holds_half_a_character(text: str) -> None:
    ids = BYTES.encode(text, add_special_tokens=False)
    pieces = pieces_of(NEW_BYTES(), ids)
    assert "".join(pieces) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, len(BYTES) - 1), max_size=40))
def test_any_byte_level_tokens_give_what_the_tokenizer_itself_decodes(ids: list[int]) -> None:
    # The added token beyond ASCII is left out: the tokenizer reads its letters as bytes, we as letters.
    ids = [token for token in ids if token != len(BYTES) - 1]
    expected = BYTES.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert "".join(pieces_of(NEW_BYTES(), ids)) == expected


def test_a_character_cut_at_the_end_becomes_one_replacement() -> None:
    ids = BYTES.encode("ok 🙂", add_special_tokens=False)[:-1]
    pieces = pieces_of(NEW_BYTES(), ids)
    assert "".join(pieces[:-1]) == "ok "
    assert pieces[-1] == "\ufffd"


def test_special_tokens_have_no_text_and_other_added_tokens_keep_theirs() -> None:
    ids = ids_of(BYTES, ["<|pad|>", "<think>", " 思考é", "<|end|>"])
    assert "".join(pieces_of(NEW_BYTES(), ids)) == "<think> 思考é"


def test_an_id_beyond_the_vocabulary_has_no_text() -> None:
    assert ByteDetokenizer([b"a"], strip_first_space=False).push(7) == ""


@pytest.mark.parametrize("strip", [True, False])
def test_sentencepiece_tokens_and_byte_fallback_give_what_the_tokenizer_itself_decodes(*, strip: bool) -> None:
    tokenizer = sentencepiece(strip=strip)
    ids = ids_of(tokenizer, ["<s>", "▁Paris", "▁is", "▁", "猫", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>", "é"])
    text = "".join(pieces_of(detokenizer_for(tokenizer)(), ids))
    assert text == tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert text == ("" if strip else " ") + "Paris is 猫🙂é"


def test_other_vocabularies_are_decoded_too() -> None:
    tokenizer = wordpiece()
    ids = ids_of(tokenizer, ["the", "cat", "##s", "sat"])
    assert "".join(pieces_of(detokenizer_for(tokenizer)(), ids)) == "the cats sat"


def test_detokenizers_of_one_model_do_not_share_text() -> None:
    one, other = NEW_BYTES(), NEW_BYTES()
    cut, whole = BYTES.encode("é", add_special_tokens=False)[:1], BYTES.encode("x", add_special_tokens=False)
    assert one.push(cut[0]) == ""
    assert other.push(whole[0]) == "x"


def test_a_tiny_model_s_tokenizer_is_decoded_as_it_decodes_itself(tiny_model: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("qwen3-f32"))
    text = "日本語 with émojis 🙂 and <think> tags </think>\n"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert "".join(pieces_of(detokenizer_for(tokenizer)(), ids)) == text
