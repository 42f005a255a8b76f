"""Chats and completions into work for the text engine, on any thread, before the GPU is asked.

What a request leaves out comes from the model's generation_config.json, and what
that leaves out from OpenAI's documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from app.engines.checkpoint import Checkpoint
from app.engines.conversation import Conversation, Conversations, parts_of, plain_text
from app.engines.detokenize import detokenizer_for, is_spelled, spelling
from app.engines.device import on_cpu
from app.engines.eyes import Eyes, eyes_of
from app.engines.grammar import Grammars
from app.engines.kv_admission import KvAdmission
from app.engines.ledger import KvAccount
from app.engines.protocols import EmbeddingWork, Loading, Sampling, TextWork
from app.engines.seeing import Picture
from app.engines.text_loading import load_text_engine
from app.engines.tokenizing import Tokenizing
from app.engines.video_eyes import Video
from app.engines.vlm_library import has_text_model
from app.errors import ContextTooLong, InferenceError, InvalidRequest, ModelLoadFailed, UnsupportedTask
from app.models.footprint import footprint_of
from app.models.spec import ModelSpec
from app.models.tensors import bytes_by_type

__all__ = ["TextFrontend"]

_SLOTS = 16
# By kind: OpenAI documents the second, a full page has the third, and what is thought comes before the answer.
_DEFAULT_MAX_TOKENS = {"chat": 2048, "completion": 16, "ocr": 4096, "thought": 8192}
_KINDS = frozenset({"chat", "completion", "ocr"})
# What PaddleOCR-VL was trained to be asked (its model card on the hub).
_READING = {"ocr": "OCR:", "table": "Table Recognition:", "formula": "Formula Recognition:", "chart": "Chart Recognition:"}
_SEEDS = 2**63
_ALONE = frozenset({"paddleocr_vl"})
_SHOWN = frozenset({"image", "video"})  # types of a message's parts

_T = TypeVar("_T")


class TextFrontend:
    """A :class:`~app.engines.protocols.Frontend` for models that mlx-vlm loads."""

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint) -> None:
        """Read tokenizer and configuration.

        Raises:
            ModelLoadFailed: mlx-vlm does not know the architecture, or the tokenizer cannot be loaded.
        """
        if not has_text_model(checkpoint.config):
            msg = f"{spec.id} is of the architecture {checkpoint.model_type!r}, which cannot generate text here."
            raise ModelLoadFailed(msg)
        self.context = min(checkpoint.context, spec.context or checkpoint.context)
        # Batched, PaddleOCR-VL gives other tokens than alone.
        self.slots = 1 if checkpoint.model_type in _ALONE else spec.slots or _SLOTS
        self._spec = spec
        self._checkpoint = checkpoint
        self._tokenizing = Tokenizing(checkpoint)
        self._eyes = eyes_of(checkpoint)
        own_end = self._tokenizing.eos_token_id
        self._eos_token_ids = checkpoint.eos_token_ids | ({own_end} if own_end is not None else set())
        self._spelled = spelling(self._tokenizing.tokenizer)
        self._detokenizer = detokenizer_for(self._tokenizing.tokenizer, self._spelled)
        self._vocabulary = checkpoint.vocab_size or len(self._spelled)
        tokenizer = self._tokenizing.tokenizer
        self._conversations = Conversations(self._tokenizing, self._spelled, holds=is_spelled(tokenizer))
        special = {*tokenizer.all_special_ids} - self._conversations.tag_tokens  # a grammar knows tags by their text
        self._grammars = Grammars(self._spelled if is_spelled(tokenizer) else (), special, self._eos_token_ids)

    def prepare(
        self,
        work_id: str,
        kind: str,
        request: Mapping[str, Any],
        *,
        seed: int,
        published: Sequence[int] = (),
        alone: bool = False,
    ) -> TextWork | EmbeddingWork:
        """Turn a request into work.

        Raises:
            ContextTooLong: Prompt and answer do not fit the context.
            InvalidRequest: The model has no chat template, or its template refuses the conversation; a token id is not
                of the vocabulary; the answer cannot be held to what it shall look like.
            UnsupportedTask: *kind* is neither chat nor completion nor ocr.
        """
        if kind not in _KINDS:
            raise UnsupportedTask(self._spec.id, kind, self._spec.tasks)
        if kind == "ocr":
            request = _of_a_page(request)
        conversation: Conversation | None = None
        pictures: Sequence[Picture] = ()
        if kind == "completion":
            prompt = self._raw(request["prompt"])
        else:
            with _naming("file") if kind == "ocr" else nullcontext():  # the chat that has a page read is ours
                conversation, prompt, pictures = self._conversation(request)
        stop = request.get("stop") or ()
        return TextWork(
            id=work_id,
            prompt=tuple(prompt),
            max_tokens=self._max_tokens(request, len(prompt), "thought" if conversation and conversation.thinks else kind),
            sampling=self._sampling(request, seed),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            published=tuple(published),
            alone=alone,
            logprobs=_logprobs(request),
            pictures=tuple(pictures),
            ends_loops=kind == "ocr",
            markup=conversation.markup if conversation else None,
            thinking=conversation.thinking if conversation else None,
            grammar=self._grammars.compile(conversation.shape) if conversation and not conversation.shape.is_free else None,
            echo=self._text_of(request["prompt"]) if kind == "completion" and request.get("echo") else "",
        )

    def count(self, request: Mapping[str, Any]) -> int:
        """Return the tokens of a chat's prompt; see :class:`~app.engines.protocols.CountsPrompts`."""
        _, prompt, _ = self._conversation(request)
        return len(prompt)

    def open(self, account: KvAccount | None = None) -> Loading:
        """Begin to load the weights."""
        stored = bytes_by_type(self._checkpoint.directory)
        return load_text_engine(
            self._checkpoint,
            kv=KvAdmission(footprint_of(self._checkpoint.config, stored, self._spec.tasks, self.context, cpu=on_cpu()), account),
            slots=self.slots,
            eos_token_ids=self._eos_token_ids,
            detokenizer=self._detokenizer,
            spelled=self._spelled,
        )

    def _text_of(self, prompt: str | Sequence[int]) -> str:
        if isinstance(prompt, str):
            return prompt
        detokenizer = self._detokenizer()
        return "".join(detokenizer.push(token) for token in prompt) + detokenizer.finish()

    def _raw(self, given: str | Sequence[int]) -> list[int]:
        if isinstance(given, str):
            self._tokenizing.refuse_hopeless(given, self.context, param="prompt")
        prompt = self._tokenizing.encode(given) if isinstance(given, str) else list(given)
        self._check_tokens(prompt, "prompt")
        if not prompt:
            msg = "The prompt has no tokens."
            raise InvalidRequest(msg, param="prompt")
        return prompt

    def _check_tokens(self, tokens: Iterable[int], param: str) -> None:
        if strange := next((token for token in tokens if token >= self._vocabulary), None):
            msg = f"{strange} is no token id of {self._spec.id!r}, which has {self._vocabulary}."
            raise InvalidRequest(msg, param=param)

    def _conversation(self, request: Mapping[str, Any]) -> tuple[Conversation, list[int], Sequence[Picture]]:
        """Return the conversation, its prompt with a place for each picture, and the pictures."""
        if not self._tokenizing.has_chat_template:
            msg = f"The model {self._spec.id!r} has no chat template, so it cannot answer a conversation."
            raise InvalidRequest(msg, param="model")
        messages = request["messages"]
        self._tokenizing.refuse_hopeless(
            "".join(plain_text(message.get("content")) for message in messages), self.context, param="messages"
        )
        shown = shown_in(messages)
        if self._eyes is None and shown:
            msg = f"The model {self._spec.id!r} does not take pictures."
            raise InvalidRequest(msg, param="model")
        films = {where: self._watch(self._eyes, where, part) for where, part in shown.items() if self._eyes and part["type"] == "video"}
        videos = self._eyes.videos if self._eyes else None
        edit = (lambda text: videos.write(text, list(films.values()))) if videos else str
        conversation = self._conversations.read(request, edit)
        if not conversation.prompt:
            msg = "The model's chat template makes an empty prompt of these messages."
            raise InvalidRequest(msg, param="messages")
        if self._eyes is None:
            return conversation, conversation.prompt, ()
        pictures: list[Picture] = []
        for where, part in shown.items():
            pictures.extend(films[where].pictures if where in films else [self._look(self._eyes, where, part)])
        return conversation, self._eyes.place(conversation.prompt, pictures), pictures

    def _watch(self, eyes: Eyes, where: str, part: Mapping[str, Any]) -> Video:
        if eyes.videos is None:
            msg = f"The model {self._spec.id!r} does not take videos: send frames of it as pictures."
            raise InvalidRequest(msg, param=where)
        with _naming(where):
            return eyes.videos.watch(Path(part["path"]), part["blob"])

    def _look(self, eyes: Eyes, where: str, part: Mapping[str, Any]) -> Picture:
        with _naming(where):
            return eyes.look(Path(part["path"]), part["blob"], part.get("detail") or "auto")

    def _max_tokens(self, request: Mapping[str, Any], prompt_tokens: int, kind: str) -> int:
        left = self.context - prompt_tokens
        if left <= 0:
            raise ContextTooLong(prompt_tokens, None, self.context, param="prompt" if kind == "completion" else "messages")
        asked = _first(request.get("max_completion_tokens"), request.get("max_tokens"), None)
        if asked is None:
            return min(_DEFAULT_MAX_TOKENS[kind], left)
        if asked > left:
            if request.get("fit_max_tokens"):
                return left
            raise ContextTooLong(prompt_tokens, asked, self.context, param="max_tokens")
        return int(asked)

    def _sampling(self, request: Mapping[str, Any], seed: int) -> Sampling:
        model = self._checkpoint.generation
        temperature = 0.0 if model.get("do_sample") is False else _first(model.get("temperature"), None, 1.0)
        asked_seed = request.get("seed")
        bias = tuple((int(token), float(value)) for token, value in (request.get("logit_bias") or {}).items())
        self._check_tokens((token for token, _ in bias), "logit_bias")
        return Sampling(
            # Any integer is a seed to OpenAI, a negative one too.
            seed=(seed if asked_seed is None else int(asked_seed)) % _SEEDS,
            temperature=float(_first(request.get("temperature"), None, temperature)),
            top_p=float(_first(request.get("top_p"), model.get("top_p"), 1.0)),
            top_k=int(_first(request.get("top_k"), model.get("top_k"), 0)),
            min_p=float(_first(request.get("min_p"), model.get("min_p"), 0.0)),
            repetition_penalty=float(_first(request.get("repetition_penalty"), model.get("repetition_penalty"), 1.0)),
            presence_penalty=float(_first(request.get("presence_penalty"), None, 0.0)),
            frequency_penalty=float(_first(request.get("frequency_penalty"), None, 0.0)),
            logit_bias=bias,
        )


def _of_a_page(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chat that has a page read, always the same: one picture before what is to be done with it."""
    words = request.get("prompt") or _READING[request.get("task") or "ocr"]
    content = [{"type": "image", **request["image"]}, {"type": "text", "text": words}]
    asked = {"messages": [{"role": "user", "content": content}], "temperature": 0.0}
    return asked | ({"max_tokens": request["max_tokens"]} if request.get("max_tokens") else {})


def shown_in(messages: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the pictures and videos of a conversation in their order, by where they stand in the request."""
    return {
        f"messages.{turn}.content.{place}": part
        for turn, message in enumerate(messages)
        for place, part in enumerate(parts_of(message))
        if part["type"] in _SHOWN
    }


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Let errors name the part at fault."""
    try:
        yield
    except InferenceError as error:
        error.param = where
        raise


def _logprobs(request: Mapping[str, Any]) -> int | None:
    """Return how many alternatives are asked for: a chat says whether, and how many besides; a completion just how many."""
    asked = request.get("logprobs")
    if isinstance(asked, bool):
        return (request.get("top_logprobs") or 0) if asked else None
    return asked


def _first(asked: _T | None, model: _T | None, otherwise: _T) -> _T:
    """Return the first that is set."""
    if asked is not None:
        return asked
    return otherwise if model is None else model
