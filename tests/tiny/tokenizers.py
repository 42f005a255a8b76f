"""Tokenizers of 512 tokens, built as Qwen's (byte-level BPE) and BERT's (WordPiece) are.

A model's vocabulary is exactly as large as its tokenizer: a sampled id past the
tokenizer's end makes real detokenizers raise.
"""

from __future__ import annotations

import json
import string
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.tiny.files import write_json

__all__ = ["VOCAB", "bert_tokenizer", "paddle_tokenizer", "qwen_tokenizer", "xlm_roberta_tokenizer"]

VOCAB = 512
CONTEXT = 4096

_QWEN_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_QWEN_ADDED = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
_QWEN_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_PADDLE_SPECIAL = (
    "<unk>",
    "<s>",
    "</s>",
    "<|begin_of_sentence|>",
    "<|end_of_sentence|>",
    "<|IMAGE_PLACEHOLDER|>",
    "<|video_pad|>",
    "<|IMAGE_START|>",
    "<|IMAGE_END|>",
    "<|placeholder|>",
)

_ROBERTA_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# Enough different words for 512 merges, and characters of two, three and four bytes.
_CORPUS = (
    "The river rises in the hills north of the town and runs past the old mill, the school and the harbour before it reaches the sea.",
    "Every morning the baker opens at six, the fishermen land their catch at seven, and by eight the market square is full of people.",
    "You are a helpful assistant. Describe the picture. Read the table. What is the capital of France? Translate this sentence, please.",
    '{"name": "get_weather", "arguments": {"city": "Lisbon", "unit": "celsius", "days": [1, 2, 3]}, "strict": true, "value": null}',
    "0123456789 one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen",
    "def add(left, right):\n    return left + right\n\nfor number in range(10):\n    print(add(number, 1))\n",
    "A cat sat on the mat while a kitten slept on the rug; stock prices fell today and the printer has run out of paper again.",
    "Größere Straßen führen über die Brücke. Où est la gare, s'il vous plaît? El niño come una manzana en el jardín.",
    "今天天气很好,我们去公园散步。日本語の文章も少しあります。한국어 문장도 있습니다. 😀🚀",
)

_JSON_CALL = (
    r"<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>",
    (
        r"""{{- '\n<tool_call>\n{"name": "' + tool_call.name + '", "arguments": ' -}}"""
        r"{{- tool_call.arguments if tool_call.arguments is string else tool_call.arguments | tojson -}}"
        r"{{- '}\n</tool_call>' -}}"
    ),
)
_XML_CALL = (
    r"<tool_call>\n<function=example_function_name>\n<parameter=name>\nvalue\n</parameter>\n</function>\n</tool_call>",
    (
        r"{{- '\n<tool_call>\n<function=' + tool_call.name + '>\n' -}}"
        r"{%- for key, value in tool_call.arguments | items -%}"
        r"{{- '<parameter=' + key + '>\n' + (value if value is string else value | tojson) + '\n</parameter>\n' -}}"
        r"{%- endfor -%}{{- '</function>\n</tool_call>' -}}"
    ),
)
_NO_THINKING = r"{{- '<think>\n\n</think>\n\n' -}}"
_QWEN3_THINKING = "{%- if enable_thinking is defined and enable_thinking is false -%}" + _NO_THINKING + "{%- endif -%}"
_QWEN35_THINKING = (
    "{%- if enable_thinking is defined and enable_thinking is false -%}" + _NO_THINKING + r"{%- else -%}{{- '<think>\n' -}}{%- endif -%}"
)
# Template style -> (example of a call, a call, what begins an answer). Parsers of calls are chosen by these very marks.
_STYLES = {"plain": (*_JSON_CALL, ""), "qwen3": (*_JSON_CALL, _QWEN3_THINKING), "qwen3_5": (*_XML_CALL, _QWEN35_THINKING)}


def qwen_tokenizer(out: Path, style: str | None, *, append_end: bool = False, more: tuple[str, ...] = ()) -> dict[str, int]:
    """Write Qwen's tokenizer files.

    Args:
        out: The model's folder; made if need be.
        style: ``plain``, ``qwen3`` or ``qwen3_5``: whose chat template; None: no template.
        append_end: Whether encoding appends ``<|endoftext|>``, as Qwen3-Embedding's does.
        more: Tokens that the family has besides Qwen3's; those in bars are special.

    Returns:
        Special and added tokens -> ids.
    """
    tokenizer = _trained_qwen(more)
    ids = {text: _id(tokenizer, text) for text in (*_QWEN_SPECIAL, *_QWEN_ADDED, *more)}
    post: processors.PostProcessor = processors.ByteLevel(trim_offsets=False)
    if append_end:
        end = "<|endoftext|>"
        appending = processors.TemplateProcessing(single=f"$A {end}", pair=f"$A {end} $B:1 {end}:1", special_tokens=[(end, ids[end])])
        post = processors.Sequence([post, appending])
    tokenizer.post_processor = post
    _save(out, tokenizer)
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_prefix_space": False,
        "add_bos_token": False,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "split_special_tokens": False,
        "added_tokens_decoder": {str(token_id): _added(text) for text, token_id in ids.items()},
        "additional_special_tokens": list(_QWEN_SPECIAL[1:]),
    }
    write_json(out / "tokenizer_config.json", config)
    if style is not None:
        (out / "chat_template.jinja").write_text(_template(style), encoding="utf-8")
    return ids


def _trained_qwen(more: tuple[str, ...]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_QWEN_SPLIT), "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    learned = VOCAB - len(_QWEN_SPECIAL) - len(_QWEN_ADDED) - len(more)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=learned, initial_alphabet=alphabet, special_tokens=[], show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _QWEN_SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=_is_special(text), normalized=False) for text in (*_QWEN_ADDED, *more)])
    return tokenizer


def _template(style: str) -> str:
    example, call, thinking = _STYLES[style]
    template = Path(__file__).with_name("templates").joinpath("chatml.jinja").read_text(encoding="utf-8")
    return template.replace("@CALL_EXAMPLE@", example).replace("@CALL@", call).replace("@THINKING@", thinking)


def paddle_tokenizer(out: Path) -> dict[str, int]:
    """Write PaddleOCR-VL's tokenizer files: BPE as SentencePiece has it, which falls back to bytes.

    Returns:
        Special tokens -> ids.
    """
    in_bytes = [f"<0x{value:02X}>" for value in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=[*_PADDLE_SPECIAL, *in_bytes], show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _PADDLE_SPECIAL])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    _save(out, tokenizer)
    # Training marks them as special, and the published ones are ordinary entries of the vocabulary.
    written = json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))
    written["added_tokens"] = [token for token in written["added_tokens"] if token["content"] not in set(in_bytes)]
    write_json(out / "tokenizer.json", written)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<unk>",
        "cls_token": "<|begin_of_sentence|>",
        "add_bos_token": False,
        "add_eos_token": False,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "additional_special_tokens": list(_PADDLE_SPECIAL[3:]),
    }
    write_json(out / "tokenizer_config.json", config)
    template = Path(__file__).with_name("templates").joinpath("paddleocr_vl.jinja").read_text(encoding="utf-8")
    (out / "chat_template.jinja").write_text(template, encoding="utf-8")
    return {text: _id(tokenizer, text) for text in _PADDLE_SPECIAL}


def xlm_roberta_tokenizer(out: Path) -> dict[str, int]:
    """Write XLM-RoBERTa's tokenizer files: Unigram as SentencePiece has it, pairs with two separators and without segments.

    Returns:
        Special tokens -> ids.
    """
    tokenizer = Tokenizer(models.Unigram([(piece, -float(place)) for place, piece in enumerate(_unigrams())], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _ROBERTA_SPECIAL])
    begin, end = _id(tokenizer, "<s>"), _id(tokenizer, "</s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", begin), ("</s>", end)]
    )
    _save(out, tokenizer)
    names = {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    config = {
        "tokenizer_class": "XLMRobertaTokenizer",
        "mask_token": "<mask>",
        "model_max_length": 512,
        "clean_up_tokenization_spaces": False,
    }
    write_json(out / "tokenizer_config.json", config | names)
    return {text: _id(tokenizer, text) for text in _ROBERTA_SPECIAL}


def _unigrams() -> list[str]:
    words = [f"▁{word}" for text in _CORPUS for word in text.split()]
    characters = sorted({character for text in _CORPUS for character in text if not character.isspace()} | {"▁"})
    pairs = [f"{head}{tail}" for head in string.ascii_lowercase for tail in string.ascii_lowercase]
    return list(dict.fromkeys([*_ROBERTA_SPECIAL[:4], *words, *characters, *pairs]))[: VOCAB - 1]


def bert_tokenizer(out: Path) -> None:
    """Write BERT's tokenizer files.

    As in the published all-MiniLM-L6-v2, ``tokenizer.json`` itself cuts at 128 tokens
    and pads to 128: whoever encodes with it must say otherwise.
    """
    tokenizer = Tokenizer(models.WordPiece(_wordpieces(), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _BERT_SPECIAL])
    cls, sep = _id(tokenizer, "[CLS]"), _id(tokenizer, "[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128, pad_token="[PAD]", pad_id=_id(tokenizer, "[PAD]"))
    _save(out, tokenizer)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (out / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in vocabulary), encoding="utf-8")
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    write_json(out / "special_tokens_map.json", names)
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None}
    write_json(out / "tokenizer_config.json", {**config, **names, "model_max_length": 512})


def _wordpieces() -> dict[str, int]:
    """Return a vocabulary that is the same every time, which WordPiece training's is not: characters, then whole words."""
    normalizer, split = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = [word for text in _CORPUS for word, _ in split.pre_tokenize_str(normalizer.normalize_str(text))]
    characters = sorted({character for word in words for character in word} | set(string.ascii_lowercase))
    pieces = [*_BERT_SPECIAL, *characters, *(f"##{character}" for character in characters), *words]
    pieces += [f"{head}{tail}" for head in string.ascii_lowercase for tail in string.ascii_lowercase]
    return {piece: index for index, piece in enumerate(list(dict.fromkeys(pieces))[:VOCAB])}


def _save(out: Path, tokenizer: Tokenizer) -> None:
    size = tokenizer.get_vocab_size()
    if size != VOCAB:
        message = f"the tokenizer has {size} tokens, not {VOCAB}: the corpus is too small or too varied"
        raise ValueError(message)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    if found is None:
        message = f"the tokenizer lacks {token}"
        raise ValueError(message)
    return int(found)


def _added(text: str) -> dict[str, object]:
    return {"content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": _is_special(text)}


def _is_special(text: str) -> bool:
    return text.startswith("<|")
