"""The events of a streamed response, made of the entries of its job's stream. Pure.

Each entry gives the same events with the same numbers whoever reads, so a
reader may go on after a number it has seen, here or at another process, and a
rescued job's stream goes on where the last attempt stopped.

An item ends where another kind of thing begins. Should a model think or speak
again after that, it is another item; the response that is fetched later has all
thoughts, and all words, in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.api.responses.output import call_item, item_id, likely_of, logprobs_of, message_item, reasoning_item, text_part
from app.api.responses.stored import Stored
from app.api.responses.tools import Offered, input_of
from app.errors import InferenceError
from app.jobs.calls import CallDelta, call_id
from app.jobs.logprobs import chat_logprobs
from app.jobs.record import JobState
from app.jobs.streams import StreamEntry

__all__ = ["Event", "ResponseEvents"]

Event = dict[str, Any]


@dataclass(slots=True)
class _Item:
    """The item that is being told."""

    kind: str  # reasoning, message or call
    place: int  # in the output
    ident: str
    number: int = 0  # of a call
    tool: Offered | None = None
    pieces: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def is_custom(self) -> bool:
        return self.tool is not None and self.tool.kind == "custom"

    @property
    def where(self) -> dict[str, Any]:
        return {"item_id": self.ident, "output_index": self.place}

    @property
    def part(self) -> dict[str, Any]:
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": self.text}
        return text_part(self.text, self.logprobs)


class ResponseEvents:
    """Makes the events of one response.

    Args:
        stored: The response; as it stood when its reader came.
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._job_id = stored.job.id
        self._offered = stored.offered
        self._next = 0
        self._runs = False
        self._item: _Item | None = None
        self._output: list[dict[str, Any]] = []
        self._seen = {"reasoning": 0, "message": 0}
        self._likely: list[dict[str, Any]] = []  # of tokens whose text is still to come

    def begin(self) -> list[Event]:
        """Say that the response is there. One of the background says when it begins to run; a caller that waits need not know."""
        if self._stored.background:
            queued = self._stored.show("queued")
            return [self._event("response.created", response=queued), self._event("response.queued", response=queued)]
        return [self._event("response.created", response=self._stored.show("in_progress")), *self._run()]

    def heard(self, entry: StreamEntry) -> list[Event]:
        """Say what an entry adds."""
        if entry.type == "state" and entry.state is JobState.RUNNING:
            return self._run() if self._next else []
        if entry.type != "tokens":
            return []
        self._likely += logprobs_of(chat_logprobs(entry.logprobs)["content"])
        return [event for part in entry.parts() for event in self._add(part.reasoning, part.text, part.calls)]

    def end(self, stored: Stored, chat: Mapping[str, Any]) -> list[Event]:
        """Say how it ended, with the answer that *chat* has. Where no entry was left to be read, all of it is said at once."""
        choice = chat["choices"][0]
        events = self._run()
        if not self._output and self._item is None:
            message = choice["message"]
            calls = [(number, its["function"]) for number, its in enumerate(message.get("tool_calls") or ())]
            deltas: list[CallDelta] = [(number, its["name"], its["arguments"]) for number, its in calls]
            self._likely = likely_of(choice)
            events += self._add(message.get("reasoning_content") or "", message["content"] or "", deltas)
            if not self._output and self._item is None:
                events += self._open("message")  # an empty answer is an answer
        if self._item is not None:
            self._item.logprobs += self._taken_likely(self._item)
        cut = choice["finish_reason"] == "length"
        events += self._close("incomplete" if cut else "completed")
        word = "incomplete" if cut else "completed"
        return [*events, self._event(f"response.{word}", response=stored.show_answer(chat, self._output))]

    def fail(self, stored: Stored) -> list[Event]:
        """Say that it ended without an answer."""
        return [*self._close("incomplete"), self._event("response.failed", response=stored.show_end(self._output))]

    def broken(self, error: InferenceError) -> Event:
        """Say that the stream breaks off."""
        fact = error.as_fact()
        return self._event("error", code=fact.code, message=fact.message, param=fact.param)

    def _event(self, kind: str, **facts: Any) -> Event:  # noqa: ANN401 - fields of an event
        self._next += 1
        return {"type": kind, "sequence_number": self._next - 1, **facts}

    def _run(self) -> list[Event]:
        if self._runs:
            return []
        self._runs = True
        return [self._event("response.in_progress", response=self._stored.show("in_progress"))]

    def _add(self, reasoning: str, text: str, calls: Iterable[CallDelta]) -> list[Event]:
        events = self._run()
        if reasoning:
            item, opened = self._at("reasoning")
            item.pieces.append(reasoning)
            events += [*opened, self._event("response.reasoning_text.delta", **item.where, content_index=0, delta=reasoning)]
        if text:
            item, opened = self._at("message")
            item.pieces.append(text)
            likely = self._taken_likely(item)
            item.logprobs += likely
            shown = logprobs_of(likely, streamed=True)
            delta = self._event("response.output_text.delta", **item.where, content_index=0, delta=text, logprobs=shown)
            events += [*opened, delta]
        for number, name, arguments in calls:
            item, opened = self._at("call", number, name)
            events += opened
            item.pieces.append(arguments)
            if arguments and not item.is_custom:  # a custom tool's text is inside the arguments, and told when they are whole
                events.append(self._event("response.function_call_arguments.delta", **item.where, delta=arguments))
        return events

    def _taken_likely(self, item: _Item) -> list[dict[str, Any]]:
        """Return the likelihoods that go with *item*, once: only a message that is the first thing is known to have no thought's."""
        likely, self._likely = self._likely, []
        return likely if item.kind == "message" and item.place == 0 else []

    def _at(self, kind: str, number: int = 0, name: str = "") -> tuple[_Item, list[Event]]:
        """Return the item that this belongs to, and what is to be said of its beginning."""
        item = self._item
        if item is not None and item.kind == kind and item.number == number:
            return item, []
        events = [*self._close("completed"), *self._open(kind, number, name)]
        if self._item is None:
            msg = "an item was opened and is not there"
            raise RuntimeError(msg)
        return self._item, events

    def _open(self, kind: str, number: int = 0, name: str = "") -> list[Event]:
        place = len(self._output)
        if kind == "call":
            tool = self._offered.get(name, Offered("function", name))
            ident = item_id("ctc" if tool.kind == "custom" else "fc", self._job_id, number, always=True)
            self._item = item = _Item(kind, place, ident, number, tool)
        else:
            ident = item_id("rs" if kind == "reasoning" else "msg", self._job_id, self._seen[kind])
            self._seen[kind] += 1
            self._item = item = _Item(kind, place, ident)
        added = [self._event("response.output_item.added", output_index=place, item=self._whole(item, "in_progress"))]
        if kind == "call":
            return added
        return [*added, self._event("response.content_part.added", **item.where, content_index=0, part=item.part)]

    def _close(self, status: str) -> list[Event]:
        item, self._item = self._item, None
        if item is None:
            return []
        events = self._call_done(item) if item.kind == "call" else self._part_done(item)
        whole = self._whole(item, status)
        self._output.append(whole)
        return [*events, self._event("response.output_item.done", output_index=item.place, item=whole)]

    def _call_done(self, item: _Item) -> list[Event]:
        if not item.is_custom:
            return [self._event("response.function_call_arguments.done", **item.where, arguments=item.text)]
        told = input_of(item.text)
        return [
            self._event("response.custom_tool_call_input.delta", **item.where, delta=told),
            self._event("response.custom_tool_call_input.done", **item.where, input=told),
        ]

    def _part_done(self, item: _Item) -> list[Event]:
        kind, facts = "reasoning_text", {}
        if item.kind == "message":
            kind, facts = "output_text", {"logprobs": logprobs_of(item.logprobs, streamed=True)}
        return [
            self._event(f"response.{kind}.done", **item.where, content_index=0, text=item.text, **facts),
            self._event("response.content_part.done", **item.where, content_index=0, part=item.part),
        ]

    def _whole(self, item: _Item, status: str) -> dict[str, Any]:
        begun = status != "in_progress"
        if item.kind == "reasoning":
            return reasoning_item(item.ident, item.text if begun else None, status)
        if item.kind == "message":
            return message_item(item.ident, [item.part] if begun else [], status)
        tool = item.tool or Offered("function", "")
        return call_item(self._job_id, item.number, call_id(self._job_id, 0, item.number), tool, item.text, status)
