"""From token ids to text as they come: no character split, none lost, none invented.

Text after *n* tokens depends on those ids alone, however they were grouped, so a
replay after a crash says what was said before. Byte-level and sentencepiece
vocabularies are decoded as bytes, in constant time a token; what is left of a
character cut at the end becomes U+FFFD, as in the tokenizer's own ``decode``.
Other vocabularies go through mlx-lm's detokenizer, which decodes again and again.

Special tokens have no text: they are markup for the model.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["ByteDetokenizer", "Detokenizer", "detokenizer_for", "is_spelled", "spelling"]

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPM_SPACE = "\u2581"


class Detokenizer(Protocol):
    """Text of one answer."""

    def push(self, token: int) -> str:
        """Return the text that *token* completes, often empty."""
        ...

    def finish(self) -> str:
        """Return what was held back. Nothing may be pushed after it."""
        ...


class ByteDetokenizer:
    """For vocabularies whose every token is a string of bytes."""

    def __init__(self, pieces: Sequence[bytes], *, strip_first_space: bool) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._strip = strip_first_space

    def push(self, token: int) -> str:
        """Return the characters that *token* completes."""
        # Embedding tables are padded: a model may emit an id that the tokenizer lacks.
        piece = self._pieces[token] if 0 <= token < len(self._pieces) else b""
        return self._decoder.decode(self._without_first_space(piece))

    def finish(self) -> str:
        """Return U+FFFD where the last character is incomplete."""
        return self._decoder.decode(b"", final=True)

    def _without_first_space(self, piece: bytes) -> bytes:
        if self._strip and piece:
            self._strip = False
            return piece.removeprefix(b" ")
        return piece


class _RepeatedDetokenizer:
    """For any vocabulary, by mlx-lm's detokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, special: frozenset[int]) -> None:
        from app.engines.lm_library import naive_detokenizer

        self._inner = naive_detokenizer(tokenizer)
        self._special = special

    def push(self, token: int) -> str:
        if token in self._special:
            return ""
        self._inner.add_token(token)
        return str(self._inner.last_segment)

    def finish(self) -> str:
        self._inner.finalize()
        return str(self._inner.last_segment)


def detokenizer_for(tokenizer: PreTrainedTokenizerBase, spelled: Sequence[bytes] | None = None) -> Callable[[], Detokenizer]:
    """Return a maker of detokenizers, one for each answer; the tables behind them are made once.

    Args:
        tokenizer: Of the model.
        spelled: What :func:`spelling` gave for it, where that is known already.
    """
    special = frozenset(int(token) for token in tokenizer.all_special_ids)
    decoder = _decoder_of(tokenizer)
    if not (_is_byte_level(decoder) or _is_sentencepiece(decoder)):
        return lambda: _RepeatedDetokenizer(tokenizer, special)
    pieces = [b"" if number in special else piece for number, piece in enumerate(spelled or spelling(tokenizer))]
    strip = _is_sentencepiece(decoder) and any(step.get("type") == "Strip" for step in _steps(decoder))
    return lambda: ByteDetokenizer(pieces, strip_first_space=strip)


def is_spelled(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether every token is a string of bytes, whatever stands beside it."""
    decoder = _decoder_of(tokenizer)
    return _is_byte_level(decoder) or _is_sentencepiece(decoder)


def spelling(tokenizer: PreTrainedTokenizerBase) -> list[bytes]:
    """Return the bytes of every token by itself; a special token's are its name."""
    decoder = _decoder_of(tokenizer)
    to_bytes = _byte_level if _is_byte_level(decoder) else _sentencepiece if _is_sentencepiece(decoder) else str.encode
    added = {int(token): str(entry) for token, entry in tokenizer.added_tokens_decoder.items()}
    tokens = cast("list[str | None]", tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    return [b"" if token is None else added[number].encode() if number in added else to_bytes(token) for number, token in enumerate(tokens)]


def _decoder_of(tokenizer: PreTrainedTokenizerBase) -> Mapping[str, Any]:
    """Return the decoder's description, empty where the tokenizer has none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = getattr(backend, "decoder", None)
    if decoder is None:
        return {}
    described = json.loads(decoder.__getstate__())
    return described if isinstance(described, dict) else {}


def _steps(decoder: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return decoder.get("decoders", ()) if decoder.get("type") == "Sequence" else (decoder,)


def _is_byte_level(decoder: Mapping[str, Any]) -> bool:
    return [step.get("type") for step in _steps(decoder)] == ["ByteLevel"]


def _is_sentencepiece(decoder: Mapping[str, Any]) -> bool:
    kinds = [step.get("type") for step in _steps(decoder)]
    spaces = {"type": "Replace", "pattern": {"String": _SPM_SPACE}, "content": " "}
    return (
        kinds in (["Replace", "ByteFallback", "Fuse"], ["Replace", "ByteFallback", "Fuse", "Strip"])
        and next(iter(_steps(decoder))) == spaces
    )


def _byte_alphabet() -> dict[str, int]:
    """Return which byte each character of a byte-level vocabulary stands for.

    Printable Latin-1 characters stand for themselves and the other bytes, in
    order, for the characters from U+0100 on (GPT-2's convention).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + index): byte for index, byte in enumerate(others)}


_ALPHABET = _byte_alphabet()


def _byte_level(token: str) -> bytes:
    try:
        return bytes(_ALPHABET[character] for character in token)
    except KeyError:
        return token.encode()


def _sentencepiece(token: str) -> bytes:
    if match := _BYTE_TOKEN.fullmatch(token):
        return bytes.fromhex(match[1])
    return token.replace(_SPM_SPACE, " ").encode()
