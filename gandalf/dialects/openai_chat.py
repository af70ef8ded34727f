"""OpenAI's chat completions and embeddings: calls, answers, streams, errors.

Source: https://platform.openai.com/docs/api-reference/chat and .../embeddings.
Only the fields that the gateway acts on are read; bytes pass through as they are.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.dialects import json_object, sse
from gandalf.domain.errors import BadRequest, GatewayError, UpstreamRefused
from gandalf.domain.usage import TokenUsage

CONTENT_TYPE = b"application/json"
STREAM_CONTENT_TYPE = b"text/event-stream"
DONE = b"data: [DONE]\n\n"

# What a decoder can raise on bytes that are not the JSON we expect: invalid UTF-8 in
# a decoded field and nesting beyond the stack are not MsgspecErrors.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

# A picture costs roughly this many tokens at most vendors, whatever its file's size.
IMAGE_TOKENS = 1000
BYTES_PER_TOKEN = 4


# Calls.


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _ChatView(msgspec.Struct):
    model: str
    messages: msgspec.Raw
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: msgspec.Raw = msgspec.Raw(b"")


class _EmbeddingsView(msgspec.Struct):
    model: str
    input: msgspec.Raw


_decode_chat = msgspec.json.Decoder(_ChatView).decode
_decode_embeddings = msgspec.json.Decoder(_EmbeddingsView).decode


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for, as far as the gateway needs to know."""

    operation: str
    model: str
    body: bytes
    """As the client sent it."""
    members: dict[str, json_object.Span]
    stream: bool = False
    include_usage: bool = False
    """Whether the client itself asked for usage at the end of its stream."""
    n: int = 1
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    estimated_tokens: int = 0
    """Of the prompt, by its size; the truth comes from the provider."""

    def body_for(self, model: str) -> bytes:
        """Return the body for an upstream of the same dialect.

        It is the client's but for the model name and, on a stream, the request for
        usage that the gateway needs to account for it.
        """
        edits: list[tuple[json_object.Span, bytes]] = []
        if model != self.model:
            start = self.members["model"].start
            span = json_object.Span(start, json_object.value_end(self.body, start))
            edits.append((span, msgspec.json.encode(model)))
        if self.stream and not self.include_usage:
            edits.append(self._asking_for_usage())
        return json_object.splice(self.body, edits) if edits else self.body

    def _asking_for_usage(self) -> tuple[json_object.Span, bytes]:
        sent = self.members.get("stream_options")
        if sent is None:
            start = self.body.index(b"{") + 1
            added = b'"stream_options":{"include_usage":true},'
            return json_object.Span(start, start), added
        span = json_object.Span(
            sent.start, json_object.value_end(self.body, sent.start)
        )
        options = msgspec.json.decode(self.body[span.start : span.end]) or {}
        return span, msgspec.json.encode({**options, "include_usage": True})


def read_call(operation: str, body: bytes) -> Call:
    """Return what ``body`` asks for.

    Args:
        operation: ``chat`` or ``embeddings``.
        body: The request body as it arrived.

    Raises:
        BadRequest: It is not JSON, lacks what every call has, has it in the wrong
            type, or says twice what may be said once.
    """
    try:
        if operation == "chat":
            return _chat_call(body)
        return _embeddings_call(body)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error), param=_param_of(str(error))) from error
    except UNREADABLE as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise BadRequest(
            f"the body is not valid JSON: {reason}", code="invalid_json"
        ) from error


def _chat_call(body: bytes) -> Call:
    view = _decode_chat(body)
    options = view.stream_options
    return Call(
        operation="chat",
        model=_named(view.model),
        body=body,
        members=json_object.governed_members(body),
        stream=bool(view.stream),
        include_usage=bool(options and options.include_usage),
        n=view.n or 1,
        temperature=view.temperature,
        seed=view.seed,
        max_tokens=view.max_completion_tokens or view.max_tokens,
        estimated_tokens=estimate_tokens(view.messages) + len(view.tools) // 4,
    )


def _embeddings_call(body: bytes) -> Call:
    view = _decode_embeddings(body)
    return Call(
        operation="embeddings",
        model=_named(view.model),
        body=body,
        members=json_object.governed_members(body),
        estimated_tokens=estimate_tokens(view.input),
    )


def _named(model: str) -> str:
    if not model:
        raise BadRequest("model is empty", param="model")
    return model


def _param_of(message: str) -> str | None:
    """Return the field a msgspec message speaks of (``... - at `$.stream```)."""
    if "missing required field" in message:
        return message.rpartition("field `")[2].partition("`")[0]
    path = message.rpartition("`$.")[2] if "`$." in message else ""
    return path.removesuffix("`") or None


def estimate_tokens(text: bytes | msgspec.Raw) -> int:
    """Return about how many tokens the JSON ``text`` holds, in time linear in bytes.

    No tokenizer runs on the request path: it would block everybody for the length of
    the longest prompt. Base64 data counts as a picture each, not as text.
    """
    size = len(text)
    pictures = 0
    raw = bytes(text)
    start = raw.find(b";base64,")
    while start >= 0:
        end = raw.find(b'"', start)
        end = end if end >= 0 else len(raw)
        size -= end - start
        pictures += 1
        start = raw.find(b";base64,", end)
    return max(1, size // BYTES_PER_TOKEN + pictures * IMAGE_TOKENS)


# Answers.


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    audio_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _UsageView(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _ChoiceView(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None
    delta: dict[str, msgspec.Raw] | None = None


class _AnswerView(msgspec.Struct):
    choices: list[_ChoiceView] = []
    usage: _UsageView | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_decode_answer = msgspec.json.Decoder(_AnswerView).decode


class Answer(msgspec.Struct, frozen=True):
    """What the gateway needs to know of a whole answer."""

    usage: TokenUsage | None
    finish_reason: str | None = None
    error: bytes | None = None
    """The error object, if the upstream said 200 and meant something else."""


def read_answer(body: bytes) -> Answer | None:
    """Return what a whole answer says of itself; None if it is no answer at all."""
    try:
        view = _decode_answer(body)
    except UNREADABLE:
        return None
    return Answer(
        usage=_tokens(view.usage),
        finish_reason=view.choices[0].finish_reason if view.choices else None,
        error=_meant(view.error),
    )


def _tokens(usage: _UsageView | None) -> TokenUsage | None:
    if usage is None or usage.prompt_tokens is None:
        return None
    prompt = usage.prompt_tokens_details or _PromptDetails()
    completion = usage.completion_tokens_details or _CompletionDetails()
    return TokenUsage(
        input=_rest(usage.prompt_tokens, prompt.cached_tokens, prompt.audio_tokens),
        cache_read=prompt.cached_tokens,
        audio_input=prompt.audio_tokens,
        output=_rest(
            usage.completion_tokens,
            completion.reasoning_tokens,
            completion.audio_tokens,
        ),
        reasoning=completion.reasoning_tokens,
        audio_output=completion.audio_tokens,
    )


def _rest(total: int | None, *parts: int | None) -> int | None:
    # OpenAI's totals include the parts; ours are disjoint.
    if total is None:
        return None
    return max(0, total - sum(part or 0 for part in parts))


def _meant(raw: msgspec.Raw) -> bytes | None:
    """Return what ``raw`` says, if it is there and not null."""
    return bytes(raw) if bytes(raw) not in (b"", b"null") else None


# Streams.


class ChatStream:
    """Follows one upstream's stream: what of it the client gets, and what it says.

    Whole events go on as they came, many at a time, unless something in them needs a
    closer look: the end, an error, usage, a finish reason, or an event that is broken.
    """

    __slots__ = (
        "_buffer",
        "_finished",
        "_strip_usage",
        "content_seen",
        "done",
        "error",
        "finish_reason",
        "malformed",
        "usage",
    )

    def __init__(self, *, strip_usage: bool) -> None:
        self._buffer = sse.EventBuffer()
        self._strip_usage = strip_usage
        self._finished: set[int] = set()
        self.usage: TokenUsage | None = None
        self.finish_reason: str | None = None
        self.done = False
        """The stream's own end marker was seen."""
        self.error: bytes | None = None
        """The error that the upstream put into the stream, as JSON."""
        self.content_seen = False
        """Something of the answer itself, not just its frame, has come."""
        self.malformed = 0
        """Events that were not JSON, and were left out."""

    def feed(self, data: bytes) -> bytes:
        """Return the client's share of the events that ``data`` completes.

        Raises:
            sse.EventTooLarge: An event does not end.
        """
        if self.done or self.error is not None:
            return b""
        block = self._buffer.feed(data)
        if not block or (self.content_seen and _unremarkable(block)):
            return self._without_null_usage(block)
        kept = [event for event in sse.split(block) if self._keeps(event)]
        return self._without_null_usage(b"".join(kept))

    def flush(self) -> bytes:
        """Return the client's share of what is left when the upstream has ended."""
        rest = self._buffer.flush()
        if rest.strip() and not self.done and self.error is None:
            return rest + b"\n\n" if self._keeps(rest) else b""
        return b""

    def finished(self, choices: int) -> bool:
        """Whether every one of the ``choices`` answers has its finish reason."""
        return len(self._finished) >= choices

    def _keeps(self, event: bytes) -> bool:
        """Note what ``event`` says; return whether the client gets it."""
        if self.done or self.error is not None:
            return False
        data = sse.data_of(event)
        if data is None:
            return True
        if data.strip() == b"[DONE]":
            self.done = True
            return False
        try:
            view = _decode_answer(data)
        except UNREADABLE:
            self.malformed += 1
            return False
        self.error = _meant(view.error)
        if self.error is not None:
            return False
        return self._note(view)

    def _note(self, view: _AnswerView) -> bool:
        for choice in view.choices:
            if choice.finish_reason is not None:
                self._finished.add(choice.index)
                self.finish_reason = choice.finish_reason
                self.content_seen = True
            elif choice.delta and any(
                name != "role" and bytes(value) not in _EMPTY
                for name, value in choice.delta.items()
            ):
                self.content_seen = True
        tokens = _tokens(view.usage)
        if tokens is None:
            return True
        self.usage = tokens
        return bool(view.choices) or not self._strip_usage

    def _without_null_usage(self, block: bytes) -> bytes:
        # Asked for usage, OpenAI adds a null one to every other event.
        if self._strip_usage and b'"usage":null' in block:
            return block.replace(b',"usage":null', b"")
        return block


_EMPTY = (b"null", b'""', b"[]", b"{}")


def _unremarkable(block: bytes) -> bool:
    """Whether ``block`` holds nothing but ordinary, well-formed events.

    Counting bytes is fifty times cheaper than decoding each event. It may look twice
    at what is harmless, never pass what is not: inside a JSON string every quote is
    escaped, so these patterns match member names only.
    """
    count = block.count
    events = count(b"}\n\n")
    return (
        events == count(b"\n\n") == count(b'data: {"')
        and b'"error"' not in block
        and count(b'"finish_reason"')
        == count(b'"finish_reason":null') + count(b'"finish_reason": null')
        and count(b'"usage"') == count(b'"usage":null') + count(b'"usage": null')
    )


# Errors.


class _ErrorDetail(msgspec.Struct):
    message: str = ""
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class _ErrorView(msgspec.Struct):
    error: _ErrorDetail | str | None = None
    message: str | None = None
    detail: Any = None


_decode_error = msgspec.json.Decoder(_ErrorView).decode


def read_error(body: bytes) -> tuple[str, str | None, str | None]:
    """Return message, code and param of an upstream's error body; "" if unreadable."""
    try:
        view = _decode_error(body)
    except UNREADABLE:
        return "", None, None
    if isinstance(view.error, _ErrorDetail):
        code = view.error.code
        return view.error.message, str(code) if code else None, view.error.param
    return view.error or view.message or "", None, None


def error_body(error: GatewayError) -> bytes:
    """Return the body of the HTTP response that tells of ``error``."""
    if isinstance(error, UpstreamRefused) and error.body:
        return error.body
    return msgspec.json.encode({"error": _detail(error)})


def stream_error(error: GatewayError) -> bytes:
    """Return the event that tells of ``error`` in a stream. No ``[DONE]`` follows."""
    return sse.event(msgspec.json.encode({"error": _detail(error)}), b"error")


def _detail(error: GatewayError) -> dict[str, str | None]:
    return {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
