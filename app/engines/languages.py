"""Languages by ISO code and by English name, as the families that hear spell them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["QWEN_LANGUAGES", "code_of"]

QWEN_LANGUAGES = {
    "zh": "Chinese", "en": "English", "yue": "Cantonese", "ar": "Arabic", "de": "German", "fr": "French", "es": "Spanish",
    "pt": "Portuguese", "id": "Indonesian", "it": "Italian", "ko": "Korean", "ru": "Russian", "th": "Thai", "vi": "Vietnamese",
    "ja": "Japanese", "tr": "Turkish", "hi": "Hindi", "ms": "Malay", "nl": "Dutch", "sv": "Swedish", "da": "Danish", "fi": "Finnish",
    "pl": "Polish", "cs": "Czech", "tl": "Filipino", "fa": "Persian", "el": "Greek", "ro": "Romanian", "hu": "Hungarian",
    "mk": "Macedonian",
}  # fmt: skip
"""ISO code -> what Qwen3-ASR calls the language."""

_OTHER_SPELLINGS = {"fil": "tl", "cmn": "zh", "zh-yue": "yue", "iw": "he", "nb": "no", "in": "id"}


def code_of(said: str, names: Iterable[tuple[str, str]]) -> str | None:
    """Return the code for what somebody calls a language; None where *names* has it not.

    Args:
        said: A code such as ``en`` or ``pt-BR``, or an English name, in any case.
        names: Code and English name of each language that is known.
    """
    wanted = said.strip().lower().replace("_", "-")
    codes = {name.lower(): code for code, name in names}
    known = set(codes.values())
    for guess in (wanted, _OTHER_SPELLINGS.get(wanted, ""), wanted.partition("-")[0], _OTHER_SPELLINGS.get(wanted.partition("-")[0], "")):
        if guess in known:
            return guess
    return codes.get(wanted)
