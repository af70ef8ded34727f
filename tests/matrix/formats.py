"""One answer in the words of each upstream dialect, as data that a behaviour spoils.

A stream is a list of items in the order in which they are sent. The kind of an item is
the same in all dialects: ``start`` (the role), ``open`` (a block begins), ``content``,
``close`` (a block ends), ``finish`` (the finish reason), ``usage`` and ``end`` (the end
marker). Not every dialect has every kind.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tests.fakes import anthropic_format as anthropic
from tests.fakes import bedrock_format as bedrock
from tests.fakes import gemini_format as gemini
from tests.fakes import ollama_format as ollama
from tests.fakes import openai_format as openai

PIECES = ("Hello", ", wide", " world", " é🎉!")
TEXT = "".join(PIECES)
SECOND = ("The", " second target", " answers.")
"""What the second target says, which never misbehaves."""

TOOL = "get_weather"
ARGUMENTS = {"city": "Oslo"}
CALLED = ((TOOL, ARGUMENTS),)

SAID = "the upstream says what is wrong"
"""The message of every error that an upstream tells of in words."""

SECRET = "sk-proj-A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6"
"""Found in no answer to a client, and in no record."""

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Item:
    """One event of a stream."""

    kind: str
    data: Any
    """A JSON value; bytes stand in its place as they are."""
    name: str = ""
    """The event's type, where the framing has one."""

    def put(self, path: Path, value: Any) -> Item:
        """Return the item with another value at ``path``."""
        return replace(self, data=put(self.data, path, value))

    def drop(self, path: Path) -> Item:
        """Return the item without what is at ``path``."""
        return replace(self, data=drop(self.data, path))


def put(data: Any, path: Path, value: Any) -> Any:
    """Return a copy of ``data`` with ``value`` at ``path``."""
    made = copy.deepcopy(data)
    at = made
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return made


def drop(data: Any, path: Path) -> Any:
    """Return a copy of ``data`` without what is at ``path``."""
    made = copy.deepcopy(data)
    at = made
    for step in path[:-1]:
        at = at[step]
    del at[path[-1]]
    return made


class Format:
    """An upstream dialect. Paths lead to a value in a whole answer or in an item."""

    name: ClassVar[str]
    config: ClassVar[dict[str, Any]]
    """The provider's section, beside name and address."""
    base_path = ""
    model = "m"
    stream_type = "text/event-stream"
    sse = True
    answers: ClassVar[Path]
    """What a whole answer must have."""
    text: ClassVar[Path]
    end: ClassVar[Path]
    usage: ClassVar[Path]
    piece: ClassVar[Path]
    """The text in an item of kind ``content``."""
    piece_end: ClassVar[Path]
    """The finish reason in the item of kind ``finish``."""
    item_answers: ClassVar[Path] = ()
    """What an item of kind ``content`` must have."""
    id: ClassVar[Path] = ()
    has_end_marker = True
    """Whether the stream has an end marker beside the finish reason."""
    has_usage = True
    good_ends: ClassVar[Sequence[str]] = ()
    """Finish reasons, beside the usual one, of answers that say all they could."""
    bad_ends: ClassVar[Sequence[str]] = ()
    """Finish reasons that tell of an error."""

    def whole(self, pieces: Sequence[str] = PIECES) -> Any:
        """Return the JSON of a whole answer."""
        raise NotImplementedError

    def items(self, pieces: Sequence[str] = PIECES) -> list[Item]:
        """Return the items of a streamed answer."""
        raise NotImplementedError

    def calling(self) -> Any:
        """Return the JSON of a whole answer that calls a tool."""
        raise NotImplementedError

    def calling_items(self) -> list[Item]:
        """Return the items of a stream that calls a tool; its arguments in pieces,
        of kind ``content``, where the dialect has such pieces."""
        raise NotImplementedError

    def error(self, status: int = 500, message: Any = SAID) -> Any:
        """Return the JSON of an error body."""
        raise NotImplementedError

    def error_item(self, status: int = 500, message: Any = SAID) -> Item:
        """Return the item by which a stream fails."""
        return Item("error", self.error(status, message))

    def refused_key(self) -> Any:
        """Return the JSON of an error body that tells of a wrong key."""
        return self.error(401)

    def frame(self, item: Item) -> bytes:
        """Return what is sent of ``item``."""
        return b"data: " + self.payload(item) + b"\n\n"

    def payload(self, item: Item) -> bytes:
        if isinstance(item.data, bytes):
            return item.data
        return json.dumps(item.data, ensure_ascii=False).encode()

    def stream(self, items: Sequence[Item]) -> list[bytes]:
        return [self.frame(item) for item in items]


class OpenAI(Format):
    name = "openai"
    config: ClassVar = {"type": "openai", "api_key": "sk-of-the-gateway"}
    base_path = "/v1"
    answers = ("choices",)
    text = ("choices", 0, "message", "content")
    end = ("choices", 0, "finish_reason")
    usage = ("usage",)
    piece = ("choices", 0, "delta", "content")
    piece_end = ("choices", 0, "finish_reason")
    item_answers = ("choices",)
    id = ("id",)
    good_ends = ("length", "content_filter", "eos", "stop_sequence")
    bad_ends = ("error", "", "something_new", "aborted")

    def whole(self, pieces=PIECES):
        return json.loads(openai.completion("".join(pieces)))

    def items(self, pieces=PIECES):
        return [
            Item("start", openai.chunk(role="assistant", usage=None)),
            *(Item("content", openai.chunk(each, usage=None)) for each in pieces),
            Item("finish", openai.chunk(finish_reason="stop", usage=None)),
            Item("usage", openai.usage_chunk(openai.usage())),
            Item("end", b"[DONE]"),
        ]

    def calling(self):
        call = self._call(json.dumps(ARGUMENTS), id="call_1", type="function")
        return json.loads(
            openai.completion(None, finish_reason="tool_calls", tool_calls=[call])
        )

    def calling_items(self):
        first, *rest = self.items(("", "", ""))
        calls = (
            self._call("", index=0, id="call_1", type="function"),
            {"index": 0, "function": {"arguments": '{"city": '}},
            {"index": 0, "function": {"arguments": '"Oslo"}'}},
        )
        pieces = [
            Item("content", openai.chunk(tool_calls=[call], usage=None))
            for call in calls
        ]
        finish = rest[3].put(self.piece_end, "tool_calls")
        return [first, *pieces, finish, *rest[4:]]

    def _call(self, arguments, **more):
        return {"function": {"name": TOOL, "arguments": arguments}} | more

    def error(self, status=500, message=SAID):
        kind = "invalid_request_error" if status < 500 else "server_error"
        code = "rate_limit_exceeded" if status == 429 else None
        kind = "requests" if code else kind
        detail = {"message": message, "type": kind, "param": None, "code": code}
        return {"error": detail}


class Anthropic(Format):
    name = "anthropic"
    config: ClassVar = {"type": "anthropic", "api_key": "sk-of-the-gateway"}
    answers = ("content",)
    text = ("content", 0, "text")
    end = ("stop_reason",)
    usage = ("usage",)
    piece = ("delta", "text")
    piece_end = ("delta", "stop_reason")
    item_answers = ("delta",)
    id = ("id",)
    good_ends = ("max_tokens", "stop_sequence", "refusal", "pause_turn")
    bad_ends = ("error", "", "something_new")

    def whole(self, pieces=PIECES):
        return json.loads(anthropic.message("".join(pieces)))

    def items(self, pieces=PIECES):
        deltas = (
            anthropic.block_delta(0, type="text_delta", text=each) for each in pieces
        )
        start = anthropic.block_start(0, {"type": "text", "text": ""})
        return [
            Item("start", anthropic.message_start()),
            Item("open", start),
            *(Item("content", delta) for delta in deltas),
            Item("close", anthropic.block_stop(0)),
            Item("finish", anthropic.message_delta()),
            Item("end", {"type": "message_stop"}),
        ]

    def calling(self):
        block = anthropic.tool_use(TOOL, ARGUMENTS)
        return json.loads(anthropic.message(block, stop_reason="tool_use"))

    def calling_items(self):
        first, _, *rest = self.items(("", ""))
        block = anthropic.tool_use(TOOL, {})
        deltas = (
            anthropic.block_delta(0, type="input_json_delta", partial_json=piece)
            for piece in ("", '{"city": ', '"Oslo"}')
        )
        return [
            first,
            Item("open", anthropic.block_start(0, block)),
            *(Item("content", delta) for delta in deltas),
            rest[2],
            rest[3].put(self.piece_end, "tool_use"),
            *rest[4:],
        ]

    def error(self, status=500, message=SAID):
        kinds = {
            400: "invalid_request_error",
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            429: "rate_limit_error",
            529: "overloaded_error",
        }
        kind = kinds.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}}

    def frame(self, item):
        name = item.name
        if not name and isinstance(item.data, dict):
            name = str(item.data.get("type", ""))
        head = f"event: {name}\n".encode() if name else b""
        return head + super().frame(item)


class Gemini(Format):
    name = "gemini"
    config: ClassVar = {"type": "gemini", "api_key": "sk-of-the-gateway"}
    base_path = "/v1beta"
    answers = ("candidates",)
    text = ("candidates", 0, "content", "parts", 0, "text")
    end = ("candidates", 0, "finishReason")
    usage = ("usageMetadata",)
    piece = ("candidates", 0, "content", "parts", 0, "text")
    piece_end = ("candidates", 0, "finishReason")
    item_answers = ("candidates",)
    id = ("responseId",)
    has_end_marker = False
    good_ends = ("MAX_TOKENS", "SAFETY", "RECITATION")
    bad_ends = (
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "OTHER",
        "",
        "SOMETHING_NEW",
    )

    def whole(self, pieces=PIECES):
        return json.loads(gemini.completion("".join(pieces)))

    def items(self, pieces=PIECES):
        partial = gemini.usage(candidates=None)
        return [
            *(
                Item(
                    "content",
                    gemini.response(
                        gemini.candidate(each, finish_reason=None), usage=partial
                    ),
                )
                for each in pieces
            ),
            Item("finish", gemini.response(gemini.candidate(""))),
        ]

    def calling(self):
        return json.loads(gemini.completion(gemini.function_call(TOOL, ARGUMENTS)))

    def calling_items(self):
        call = gemini.candidate(
            gemini.function_call(TOOL, ARGUMENTS), finish_reason=None
        )
        return [Item("content", gemini.response(call)), self.items()[-1]]

    def error(self, status=500, message=SAID):
        words = {
            400: "INVALID_ARGUMENT",
            401: "UNAUTHENTICATED",
            403: "PERMISSION_DENIED",
            404: "NOT_FOUND",
            429: "RESOURCE_EXHAUSTED",
            503: "UNAVAILABLE",
        }
        status = 503 if status == 529 else status
        return gemini.error(status, message, status=words.get(status, "INTERNAL"))

    def refused_key(self):
        return gemini.bad_key()

    def frame(self, item):
        return b"data: " + self.payload(item) + b"\r\n\r\n"


class Ollama(Format):
    name = "ollama"
    config: ClassVar = {"type": "ollama"}
    stream_type = "application/x-ndjson"
    sse = False
    answers = ("message",)
    text = ("message", "content")
    end = ("done_reason",)
    usage = ("eval_count",)
    piece = ("message", "content")
    piece_end = ("done_reason",)
    item_answers = ("message",)
    has_end_marker = False
    good_ends = ("length",)
    bad_ends = ("error", "something_new")

    def whole(self, pieces=PIECES):
        return json.loads(ollama.chat("".join(pieces)))

    def items(self, pieces=PIECES):
        return [
            *(Item("content", ollama.piece(each)) for each in pieces),
            Item("finish", ollama.last()),
        ]

    def calling(self):
        return json.loads(
            ollama.chat("", tool_calls=[ollama.tool_call(TOOL, ARGUMENTS)])
        )

    def calling_items(self):
        call = ollama.piece(tool_calls=[ollama.tool_call(TOOL, ARGUMENTS)])
        return [Item("content", call), self.items()[-1]]

    def error(self, status=500, message=SAID):
        return {"error": message}

    def frame(self, item):
        return self.payload(item) + b"\n"


class Converse(Format):
    name = "converse"
    config: ClassVar = {
        "type": "bedrock",
        "region": "eu-central-1",
        "auth": {"type": "bearer", "api_key": "sk-of-the-gateway"},
    }
    stream_type = bedrock.STREAM_CONTENT_TYPE
    sse = False
    answers = ("output",)
    text = ("output", "message", "content", 0, "text")
    end = ("stopReason",)
    usage = ("usage",)
    piece = ("delta", "text")
    piece_end = ("stopReason",)
    item_answers = ("delta",)
    has_end_marker = False
    good_ends = (
        "max_tokens",
        "stop_sequence",
        "content_filtered",
        "guardrail_intervened",
    )
    bad_ends = (
        "error",
        "",
        "something_new",
        "malformed_tool_use",
        "malformed_model_output",
    )

    def whole(self, pieces=PIECES):
        return json.loads(bedrock.converse_answer("".join(pieces)))

    def items(self, pieces=PIECES):
        deltas = ({"contentBlockIndex": 0, "delta": {"text": each}} for each in pieces)
        metadata = {"metrics": {"latencyMs": 551}, "usage": bedrock.usage()}
        return [
            Item("start", {"role": "assistant"}, "messageStart"),
            *(Item("content", delta, "contentBlockDelta") for delta in deltas),
            Item("close", {"contentBlockIndex": 0}, "contentBlockStop"),
            Item("finish", {"stopReason": "end_turn"}, "messageStop"),
            Item("usage", metadata, "metadata"),
        ]

    def calling(self):
        use = {"toolUseId": "tooluse_1", "name": TOOL, "input": ARGUMENTS}
        block = {"toolUse": use}
        return json.loads(bedrock.converse_answer(block, stopReason="tool_use"))

    def calling_items(self):
        first, *rest = self.items(())
        use = {"toolUse": {"toolUseId": "tooluse_1", "name": TOOL}}
        start = {"contentBlockIndex": 0, "start": use}
        deltas = (
            {"contentBlockIndex": 0, "delta": {"toolUse": {"input": piece}}}
            for piece in ("", '{"city": ', '"Oslo"}')
        )
        return [
            first,
            Item("open", start, "contentBlockStart"),
            *(Item("content", delta, "contentBlockDelta") for delta in deltas),
            rest[0],
            rest[1].put(self.piece_end, "tool_use"),
            *rest[2:],
        ]

    def error(self, status=500, message=SAID):
        return {"message": message}

    def error_item(self, status=500, message=SAID):
        names = {429: "throttlingException", 529: "serviceUnavailableException"}
        name = names.get(status, "internalServerException")
        return Item("error", {"message": message}, name)

    def frame(self, item):
        kind = "exception" if item.kind == "error" else "event"
        headers = {
            f":{kind}-type": item.name or "contentBlockDelta",
            ":content-type": "application/json",
            ":message-type": kind,
        }
        return bedrock.frame(self.payload(item), headers)


FORMATS = {each.name: each() for each in (OpenAI, Anthropic, Gemini, Ollama, Converse)}
