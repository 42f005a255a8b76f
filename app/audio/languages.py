"""The languages that speech models here know, by ISO 639-1 and 639-3 code and by English name.

A short table of our own, because Whisper's stands in a package that loads mlx,
and packages with every language of the world bring tens of megabytes. It is
Whisper's list (``LANGUAGES`` of openai-whisper's tokenizer.py, MIT) with the
codes of ISO 639-3, and Filipino, which Qwen3-ASR calls so and Whisper
Tagalog. Names are those that Qwen3-ASR is told.

That a language is here does not say that a certain model knows it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import NamedTuple

from app.errors import InvalidRequest

__all__ = ["LANGUAGES", "Language", "find_language"]


class Language(NamedTuple):
    """A language.

    Attributes:
        code: ISO 639-1, or 639-3 where there is none of two letters.
        code_3: ISO 639-3.
        name: In English.
    """

    code: str
    code_3: str
    name: str

    @property
    def whisper_code(self) -> str:
        """What Whisper calls it: it knows Javanese by a code that was withdrawn, and Filipino by Tagalog's."""
        return {"jv": "jw", "fil": "tl"}.get(self.code, self.code)


LANGUAGES: tuple[Language, ...] = (
    Language("af", "afr", "Afrikaans"),
    Language("sq", "sqi", "Albanian"),
    Language("am", "amh", "Amharic"),
    Language("ar", "ara", "Arabic"),
    Language("hy", "hye", "Armenian"),
    Language("as", "asm", "Assamese"),
    Language("az", "aze", "Azerbaijani"),
    Language("ba", "bak", "Bashkir"),
    Language("eu", "eus", "Basque"),
    Language("be", "bel", "Belarusian"),
    Language("bn", "ben", "Bengali"),
    Language("bs", "bos", "Bosnian"),
    Language("br", "bre", "Breton"),
    Language("bg", "bul", "Bulgarian"),
    Language("my", "mya", "Burmese"),
    Language("yue", "yue", "Cantonese"),
    Language("ca", "cat", "Catalan"),
    Language("zh", "zho", "Chinese"),
    Language("hr", "hrv", "Croatian"),
    Language("cs", "ces", "Czech"),
    Language("da", "dan", "Danish"),
    Language("nl", "nld", "Dutch"),
    Language("en", "eng", "English"),
    Language("et", "est", "Estonian"),
    Language("fo", "fao", "Faroese"),
    Language("fil", "fil", "Filipino"),
    Language("fi", "fin", "Finnish"),
    Language("fr", "fra", "French"),
    Language("gl", "glg", "Galician"),
    Language("ka", "kat", "Georgian"),
    Language("de", "deu", "German"),
    Language("el", "ell", "Greek"),
    Language("gu", "guj", "Gujarati"),
    Language("ht", "hat", "Haitian Creole"),
    Language("ha", "hau", "Hausa"),
    Language("haw", "haw", "Hawaiian"),
    Language("he", "heb", "Hebrew"),
    Language("hi", "hin", "Hindi"),
    Language("hu", "hun", "Hungarian"),
    Language("is", "isl", "Icelandic"),
    Language("id", "ind", "Indonesian"),
    Language("it", "ita", "Italian"),
    Language("ja", "jpn", "Japanese"),
    Language("jv", "jav", "Javanese"),
    Language("kn", "kan", "Kannada"),
    Language("kk", "kaz", "Kazakh"),
    Language("km", "khm", "Khmer"),
    Language("ko", "kor", "Korean"),
    Language("lo", "lao", "Lao"),
    Language("la", "lat", "Latin"),
    Language("lv", "lav", "Latvian"),
    Language("ln", "lin", "Lingala"),
    Language("lt", "lit", "Lithuanian"),
    Language("lb", "ltz", "Luxembourgish"),
    Language("mk", "mkd", "Macedonian"),
    Language("mg", "mlg", "Malagasy"),
    Language("ms", "msa", "Malay"),
    Language("ml", "mal", "Malayalam"),
    Language("mt", "mlt", "Maltese"),
    Language("mi", "mri", "Maori"),
    Language("mr", "mar", "Marathi"),
    Language("mn", "mon", "Mongolian"),
    Language("ne", "nep", "Nepali"),
    Language("no", "nor", "Norwegian"),
    Language("nn", "nno", "Nynorsk"),
    Language("oc", "oci", "Occitan"),
    Language("ps", "pus", "Pashto"),
    Language("fa", "fas", "Persian"),
    Language("pl", "pol", "Polish"),
    Language("pt", "por", "Portuguese"),
    Language("pa", "pan", "Punjabi"),
    Language("ro", "ron", "Romanian"),
    Language("ru", "rus", "Russian"),
    Language("sa", "san", "Sanskrit"),
    Language("sr", "srp", "Serbian"),
    Language("sn", "sna", "Shona"),
    Language("sd", "snd", "Sindhi"),
    Language("si", "sin", "Sinhala"),
    Language("sk", "slk", "Slovak"),
    Language("sl", "slv", "Slovenian"),
    Language("so", "som", "Somali"),
    Language("es", "spa", "Spanish"),
    Language("su", "sun", "Sundanese"),
    Language("sw", "swa", "Swahili"),
    Language("sv", "swe", "Swedish"),
    Language("tl", "tgl", "Tagalog"),
    Language("tg", "tgk", "Tajik"),
    Language("ta", "tam", "Tamil"),
    Language("tt", "tat", "Tatar"),
    Language("te", "tel", "Telugu"),
    Language("th", "tha", "Thai"),
    Language("bo", "bod", "Tibetan"),
    Language("tr", "tur", "Turkish"),
    Language("tk", "tuk", "Turkmen"),
    Language("uk", "ukr", "Ukrainian"),
    Language("ur", "urd", "Urdu"),
    Language("uz", "uzb", "Uzbek"),
    Language("vi", "vie", "Vietnamese"),
    Language("cy", "cym", "Welsh"),
    Language("yi", "yid", "Yiddish"),
    Language("yo", "yor", "Yoruba"),
)

# Other codes and names that are in use, Whisper's own included.
_ALIASES: Mapping[str, str] = {
    "jw": "jv",
    "iw": "he",
    "in": "id",
    "ji": "yi",
    "mo": "ro",
    "cmn": "zh",
    "chi": "zh",
    "ger": "de",
    "fre": "fr",
    "dut": "nl",
    "cze": "cs",
    "gre": "el",
    "per": "fa",
    "rum": "ro",
    "slo": "sk",
    "may": "ms",
    "nb": "no",
    "nob": "no",
    "mandarin": "zh",
    "castilian": "es",
    "valencian": "ca",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "pushto": "ps",
    "panjabi": "pa",
    "moldavian": "ro",
    "moldovan": "ro",
    "sinhalese": "si",
    "myanmar": "my",
    "farsi": "fa",
}
_BY_CODE = {language.code: language for language in LANGUAGES}
_BY_WORD: Mapping[str, Language] = {
    **{word.lower(): language for language in LANGUAGES for word in (language.code, language.code_3, language.name)},
    **{alias: _BY_CODE[code] for alias, code in _ALIASES.items()},
}
_FEW = "en, zh, yue, es, fr, de, ja"


def find_language(text: str, *, param: str = "language") -> Language:
    """Return the language that a caller means: ``en``, ``eng``, ``English``, ``EN``, ``en-GB``, ``zh_Hant_HK``.

    Of a tag with parts the language counts and not the country: ``zh-HK`` is
    Chinese; Cantonese is ``yue`` or ``zh-yue``.

    Raises:
        InvalidRequest: No such language is known.
    """
    word = " ".join(text.split()).lower()
    first, *further = re.split("[-_]", word)
    # BCP 47 lets a language of ISO 639-3 follow the one that it is counted to.
    candidates = (word, *further[:1], first) if further and len(further[0]) == 3 else (word, first)  # noqa: PLR2004 - letters
    for candidate in candidates:
        if candidate in _BY_WORD:
            return _BY_WORD[candidate]
    near = difflib.get_close_matches(word[:40], _BY_WORD, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    msg = f"The language {text[:40]!r} is not known.{hint} Give a code or an English name, such as {_FEW}, English or Cantonese."
    raise InvalidRequest(msg, param=param)
