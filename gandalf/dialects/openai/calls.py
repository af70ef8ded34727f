"""What a client asks for: chat completions, legacy completions and embeddings."""

from __future__ import annotations

import re

import msgspec

from gandalf.dialects import json_object
from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.estimate import estimate_tokens
from gandalf.dialects.openai import views
from gandalf.domain.errors import BadRequest

GOVERNED = json_object.Governed(
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "temperature",
    "seed",
    "messages",
    "prompt",
    "input",
)

_encode = msgspec.json.Encoder().encode
# With a value that has nothing escaped in it.
_find_model = re.compile(rb'"model"[ \t\n\r]*:[ \t\n\r]*("[^"\\]*")').search

_NOTHING = (b"null", b"[]")


class Call(BaseCall, kw_only=True):
    """A call of OpenAI's."""

    include_usage: bool = False
    """Whether the client itself asked for usage at the end of its stream."""
    options_sent: bool = False
    """Whether it sent ``stream_options``: a tool may have a parameter of that name."""
    functions: bool = False
    """Whether the client knows only ``functions``, which ``tools`` have replaced."""
    plain: bool = False
    """What ``Governed.check`` has found."""

    def body_for(self, model: str) -> bytes:
        """Return the body for an upstream of the same dialect.

        It is the client's but for the model name and, on a stream, the request for
        usage that the gateway needs to account for it.
        """
        body = self.body
        silent = self.stream and not self.include_usage
        if model == self.model:
            if silent:
                return json_object.splice(body, [self._asking_for_usage()])
            return body
        # What is plain has the name once, and it is the member's.
        found = _find_model(body) if self.plain else None
        if found is not None:
            start, end = found.span(1)
        else:
            span = GOVERNED.place(body, "model")
            assert span is not None  # noqa: S101 - what has no model is no call
            start, end = span
        if silent:
            renamed = json_object.Span(start, end), _encode(model)
            return json_object.splice(body, [renamed, self._asking_for_usage()])
        return b"".join((body[:start], _encode(model), body[end:]))

    def _asking_for_usage(self) -> tuple[json_object.Span, bytes]:
        span = None
        if self.options_sent:
            span = GOVERNED.place(self.body, "stream_options", plain=self.plain)
        if span is None:
            start = self.body.index(b"{") + 1
            added = b'"stream_options":{"include_usage":true},'
            return json_object.Span(start, start), added
        options = msgspec.json.decode(self.body[span.start : span.end]) or {}
        return span, msgspec.json.encode({**options, "include_usage": True})


def chat_call(body: bytes) -> Call:
    """Return what the ``body`` of a chat completion asks for."""
    view = views.decode_chat(body)
    plain = GOVERNED.check(body)
    options = view.stream_options
    return Call(
        operation="chat",
        model=_named(view.model),
        body=body,
        stream=bool(view.stream),
        include_usage=bool(options and options.include_usage),
        options_sent=options is not msgspec.UNSET,
        n=view.n or 1,
        temperature=view.temperature,
        seed=view.seed,
        max_tokens=view.max_completion_tokens or view.max_tokens,
        estimated_tokens=estimate_tokens(view.messages) + len(view.tools) // 4,
        functions=_told(view.functions) and not _told(view.tools),
        plain=plain,
    )


def _told(value: msgspec.Raw) -> bool:
    return len(value) > 0 and bytes(value) not in _NOTHING


def completions_call(body: bytes) -> Call:
    """Return what the ``body`` of a legacy completion asks for."""
    view = views.decode_completions(body)
    plain = GOVERNED.check(body)
    options = view.stream_options
    prompts, tokens = _prompts_of(view.prompt)
    return Call(
        operation="completions",
        model=_named(view.model),
        body=body,
        stream=bool(view.stream),
        include_usage=bool(options and options.include_usage),
        options_sent=options is not msgspec.UNSET,
        n=(view.n or 1) * prompts,
        temperature=view.temperature,
        seed=view.seed,
        max_tokens=view.max_tokens,
        estimated_tokens=tokens,
        plain=plain,
    )


def _prompts_of(prompt: str | list[str | int | list[int]] | None) -> tuple[int, int]:
    """Return how many prompts there are, each answered apart, and about their size."""
    if not isinstance(prompt, list):
        return 1, estimate_tokens((prompt or "").encode())
    texts = [part for part in prompt if isinstance(part, str)]
    tokens = [len(part) for part in prompt if isinstance(part, list)]
    plain = len(prompt) - len(texts) - len(tokens)
    size = sum(estimate_tokens(text.encode()) for text in texts) + sum(tokens) + plain
    return max(1, len(texts) + len(tokens)), max(1, size)


def embeddings_call(body: bytes) -> Call:
    """Return what the ``body`` of an embeddings request asks for."""
    view = views.decode_embeddings(body)
    plain = GOVERNED.check(body)
    return Call(
        operation="embeddings",
        model=_named(view.model),
        body=body,
        plain=plain,
        estimated_tokens=estimate_tokens(view.input),
    )


def _named(model: str) -> str:
    if not model:
        raise BadRequest("model is empty", param="model")
    return model


def with_model(body: bytes, model: str) -> bytes:
    """Return ``body`` asking for ``model``, which the URL names, whatever it says.

    So it is at Azure, where the URL's deployment is what counts.

    Raises:
        UNREADABLE: It is not a JSON object.
        BadRequest: It has more than one model.
    """
    view = views.decode_model(body)
    encoded = msgspec.json.encode(model)
    GOVERNED.check(body)
    if view.model is not msgspec.UNSET:
        span = GOVERNED.place(body, "model")
        assert span is not None  # noqa: S101 - the view has it
        return json_object.splice(body, [(span, encoded)])
    start = body.index(b"{") + 1
    empty = body[start:].lstrip(b" \t\r\n").startswith(b"}")
    member = b'"model":%b%b' % (encoded, b"" if empty else b",")
    return json_object.splice(body, [(json_object.Span(start, start), member)])
