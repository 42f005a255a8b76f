"""A model's tokenizer and chat template, safe to use from any thread.

Hugging Face's fast tokenizers change themselves when truncation is switched, and
raise "Already borrowed" when a second thread meets them in the middle: one lock
guards each tokenizer. Very long texts take tens of seconds, so they have a
tokenizer of their own, and nobody else waits for them. No code that comes with
a model is run.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import jinja2
from transformers import AutoTokenizer

from app.engines.checkpoint import Checkpoint
from app.errors import ContextTooLong, InvalidRequest, ModelLoadFailed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Tokenizing"]

# Names of apply_chat_template itself: a request may set a template's variables, not how it is called.
_NOT_VARIABLES = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)
# Normalisation may shrink a text before it is cut into tokens: three Hangul letters compose to one, for instance.
_SHRINKS = 4
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json", "tiktoken.model")
_LONG_CHARACTERS = 100_000
"""Texts above this take noticeably long, and more than most models take."""


class Tokenizing:
    """Turns text into token ids."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Load the tokenizer.

        Raises:
            ModelLoadFailed: The folder has none that can be used.
        """
        # Without its files transformers makes an empty tokenizer of the right class, and says nothing.
        if not any((checkpoint.directory / name).is_file() for name in _VOCABULARIES):
            msg = f"{checkpoint.directory.name} has no tokenizer: none of {', '.join(_VOCABULARIES)}."
            raise ModelLoadFailed(msg)
        try:
            loaded = AutoTokenizer.from_pretrained(checkpoint.directory, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as error:
            msg = f"The tokenizer of {checkpoint.directory.name} cannot be loaded: {error}"
            raise ModelLoadFailed(msg) from error
        self.tokenizer: PreTrainedTokenizerBase = loaded
        self._widest = _SHRINKS * max(map(len, loaded.get_vocab()), default=1)  # characters that one token may stand for
        self._lock = threading.Lock()
        self._long_tokenizer: PreTrainedTokenizerBase | None = None
        self._long_lock = threading.Lock()

    def refuse_hopeless(self, text: str, context: int, *, param: str) -> None:
        """Refuse a text that cannot fit whatever its tokens are, without the minutes and gigabytes that finding them takes.

        Raises:
            ContextTooLong: Even at the widest token throughout it has more than *context* of them.
        """
        if (least := len(text) // self._widest) > context:
            raise ContextTooLong(least, None, context, param=param, at_least=True)

    @property
    def eos_token_id(self) -> int | None:
        """The tokenizer's own end token."""
        return cast("int | None", self.tokenizer.eos_token_id)

    @property
    def longest(self) -> int | None:
        """Tokens that the model takes by its tokenizer's configuration, None where that does not say."""
        stated = int(self.tokenizer.model_max_length)
        return stated if 0 < stated < 10**9 else None

    @property
    def has_chat_template(self) -> bool:
        """Whether conversations can be put into the model's format."""
        return self.tokenizer.chat_template is not None

    def encode(self, text: str) -> list[int]:
        """Return the ids of *text* with the special tokens that the tokenizer adds."""
        return self._ids(text, add_special_tokens=True, truncation=False)

    def encode_within(self, text: str, most: int) -> list[int]:
        """Return the ids of *text*, its end cut off so that with special tokens they are *most* at most.

        Raises:
            InvalidRequest: *most* leaves no room beside the special tokens.
        """
        text = text[: self._widest * most]  # what is beyond cannot be within
        with self._lock:
            if most <= self.tokenizer.num_special_tokens_to_add():
                msg = f"truncate_prompt_tokens is {most}, which leaves no room for text beside the special tokens; raise it."
                raise InvalidRequest(
                    msg,
                    param="truncate_prompt_tokens",
                )
        return self._ids(text, add_special_tokens=True, truncation=True, max_length=most)

    def encode_bare(self, text: str) -> list[int]:
        """Return the ids of *text* and of nothing beside it; special tokens that it spells are taken for such."""
        return self._ids(text, add_special_tokens=False, truncation=False)

    def encode_pair(self, first: str, second: str, most: int | None) -> tuple[list[int], int]:
        """Return the ids of two texts as the tokenizer joins them, and where the second one's segment begins.

        Args:
            first: Never cut.
            second: Its end is cut off so that both have *most* tokens with special ones; *first* must leave room.
            most: None: nothing is cut.

        Returns:
            The ids, and the place of the second segment: their number, where the model knows no segments.
        """
        cut: dict[str, Any] = {"truncation": False} if most is None else {"truncation": "only_second", "max_length": most}
        encoded = self._encoded(first, second, **cut)
        ids, segments = list(encoded["input_ids"]), list(encoded.get("token_type_ids") or ())
        return ids, segments.index(1) if 1 in segments else len(ids)

    def token_id(self, token: str) -> int | None:
        """Return the id of *token*, None where the vocabulary lacks it."""
        return self.tokenizer.get_vocab().get(token)

    def clip(self, text: str, most: int) -> str:
        """Return *text* without what cannot be among its first *most* tokens: a quick cut, long before the right place."""
        return text[: self._widest * most]

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
        tools: Sequence[Mapping[str, Any]] = (),
        edit: Callable[[str], str] = str,
    ) -> tuple[list[int], str]:
        """Return the ids of a conversation up to where the answer begins, and its text.

        Args:
            messages: Each turn, as the template takes it: its content is a text, or parts of which some are pictures or videos.
            variables: Set for the template; ``enable_thinking`` is false unless set.
            tools: What the template is to tell the model of, as OpenAI writes it.
            edit: Changes what the template wrote.

        Raises:
            InvalidRequest: The template refuses the conversation, or a variable may not be set.
        """
        if taken := sorted(_NOT_VARIABLES & variables.keys()):
            msg = f"chat_template_kwargs may not set {', '.join(taken)}."
            raise InvalidRequest(msg, param="chat_template_kwargs")
        try:
            with self._lock:
                text = self.tokenizer.apply_chat_template(
                    [dict(message) for message in messages],
                    tokenize=False,
                    add_generation_prompt=True,
                    tools=[dict(tool) for tool in tools] or None,
                    **{"enable_thinking": False, **variables},
                )
            # The template writes the special tokens itself.
            edited = edit(cast("str", text))
            return self._ids(edited, add_special_tokens=False, truncation=False), edited
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            msg = f"The model's chat template refuses this conversation: {error}"
            raise InvalidRequest(msg, param="messages") from error

    def _ids(self, text: str, **options: Any) -> list[int]:  # noqa: ANN401 - keywords of the tokenizer, of several types
        return list(self._encoded(text, **options)["input_ids"])

    def _encoded(self, *texts: str, **options: Any) -> Mapping[str, Any]:  # noqa: ANN401 - keywords of the tokenizer, of several types
        if sum(map(len, texts)) <= _LONG_CHARACTERS:
            with self._lock:
                return cast("Mapping[str, Any]", self.tokenizer(*texts, verbose=False, **options))
        with self._long_lock:
            if self._long_tokenizer is None:
                with self._lock:
                    self._long_tokenizer = copy.deepcopy(self.tokenizer)
            return cast("Mapping[str, Any]", self._long_tokenizer(*texts, verbose=False, **options))
