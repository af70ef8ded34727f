"""What a client asks for: contents to generate, to count and to embed.

Model and streaming are in the URL. Where a body names the model too, it must be the
same one. Sources: https://ai.google.dev/api/generate-content, .../api/tokens and
.../api/embeddings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from gandalf.dialects import json_object
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.estimate import BYTES_PER_TOKEN, estimate_tokens
from gandalf.dialects.gemini.signing import without_foreign
from gandalf.dialects.json_object import Span
from gandalf.dialects.refusals import refusal
from gandalf.domain.errors import BadRequest

_Value = TypeVar("_Value")

_NO_RAW = msgspec.Raw(b"")


class _Config(msgspec.Struct, rename="camel"):
    candidate_count: int | None = None
    temperature: float | None = None
    seed: int | None = None
    max_output_tokens: int | None = None


class _SnakeConfig(msgspec.Struct):
    candidate_count: int | None = None
    max_output_tokens: int | None = None


class _Named(msgspec.Struct):
    model: str | None = None


class _View(msgspec.Struct):
    model: str | None = None
    contents: msgspec.Raw = _NO_RAW
    content: msgspec.Raw = _NO_RAW
    requests: list[msgspec.Raw] | None = None
    tools: msgspec.Raw = _NO_RAW
    system_camel: msgspec.Raw = msgspec.field(name="systemInstruction", default=_NO_RAW)
    system_snake: msgspec.Raw = msgspec.field(
        name="system_instruction", default=_NO_RAW
    )
    config_camel: msgspec.Raw = msgspec.field(name="generationConfig", default=_NO_RAW)
    config_snake: msgspec.Raw = msgspec.field(name="generation_config", default=_NO_RAW)
    request_camel: msgspec.Raw = msgspec.field(
        name="generateContentRequest", default=_NO_RAW
    )
    request_snake: msgspec.Raw = msgspec.field(
        name="generate_content_request", default=_NO_RAW
    )


_CHAT = (
    "contents",
    "systemInstruction",
    "system_instruction",
    "generationConfig",
    "generation_config",
)
_COUNT = ("contents", "generateContentRequest", "generate_content_request")
_EMBEDDINGS = ("content", "requests")
_NAMES = {
    "chat": _CHAT,
    "count_tokens": _COUNT,
    "embeddings": _EMBEDDINGS,
    "batch_embeddings": _EMBEDDINGS,
}
_GOVERNED = {
    operation: json_object.Governed(*names) for operation, names in _NAMES.items()
}
_GOVERNED_AND_MODEL = {
    operation: json_object.Governed("model", *names)
    for operation, names in _NAMES.items()
}
# A name, or a letter that may be hidden in one.
_MODEL_NAMED = re.compile(rb'"model"[ \t\r\n]*:|\\u00[3-7]', re.IGNORECASE)
_MODEL = json_object.Governed("model")
_LIMITS = json_object.Governed(
    "candidateCount",
    "candidate_count",
    "temperature",
    "seed",
    "maxOutputTokens",
    "max_output_tokens",
)

_decode_view = msgspec.json.Decoder(_View, strict=False).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_config = msgspec.json.Decoder(_Config, strict=False).decode
_decode_snake_config = msgspec.json.Decoder(_SnakeConfig, strict=False).decode


class Call(BaseCall, kw_only=True):
    """A call of Gemini's, with the places of the model's name in its body."""

    named_at: tuple[Span, ...] = ()
    batch: bool = False
    """Whether several contents are to be embedded (``batchEmbedContents``)."""

    def body_for(self, model: str) -> bytes:
        """Return the client's body, with another model's name where it names one.

        And the seals of other providers, which Google refuses, are not in it.
        """
        body = self.body
        if self.named_at and bare(model) != self.model:
            edits = [(span, self._renamed(span, model)) for span in self.named_at]
            body = json_object.splice(body, edits)
        cleaned = without_foreign(body)
        self.lost = () if cleaned is body else ("thoughtSignature",)
        return cleaned

    def _renamed(self, span: Span, model: str) -> bytes:
        prefixed = b"/" in self.body[span.start : span.end]
        return msgspec.json.encode(resource(model) if prefixed else bare(model))


def bare(model: str) -> str:
    """Return ``model`` without the collection that most models are in."""
    return model.removeprefix("models/")


def resource(model: str) -> str:
    """Return the resource name of ``model``: with its collection."""
    return model if "/" in model else f"models/{model}"


def read_call(
    operation: str, body: bytes, model: str = "", *, stream: bool = False
) -> Call:
    """Return what ``body`` asks of ``model``.

    ``batch_embeddings`` becomes ``embeddings`` of several contents, so that it can be
    translated as such.

    Raises:
        BadRequest: It is not JSON, lacks what every call has, names another model than
            the URL, or says twice what may be said once.
    """
    try:
        return _call(operation, body, bare(model), stream=stream)
    except UNREADABLE as error:
        raise refusal(error) from error


def _call(operation: str, body: bytes, model: str, *, stream: bool) -> Call:
    if not model:
        raise BadRequest("model is empty", param="model")
    view = _decode_view(body)
    members = _members(operation, body)
    named_at = tuple(_model_places(view, body, members))
    for span in named_at:
        _must_be(model, body[span.start : span.end])
    if operation in ("embeddings", "batch_embeddings"):
        return _embeddings_call(view, body, model, named_at)
    if operation == "count_tokens":
        return Call(operation=operation, model=model, body=body, named_at=named_at)
    return _chat_call(view, body, model, named_at, stream=stream)


def _chat_call(
    view: _View, body: bytes, model: str, named_at: tuple[Span, ...], *, stream: bool
) -> Call:
    if not view.contents:
        raise BadRequest("contents is missing", param="contents")
    config = _config_of(view)
    system = _either("systemInstruction", view.system_camel, view.system_snake)
    return Call(
        operation="chat",
        model=model,
        body=body,
        named_at=named_at,
        stream=stream,
        n=config.candidate_count or 1,
        temperature=config.temperature,
        seed=config.seed,
        max_tokens=config.max_output_tokens,
        estimated_tokens=estimate_tokens(view.contents)
        + (len(system) + len(view.tools)) // BYTES_PER_TOKEN,
    )


def _embeddings_call(
    view: _View, body: bytes, model: str, named_at: tuple[Span, ...]
) -> Call:
    batch = view.requests is not None
    if not batch and not view.content:
        raise BadRequest("content is missing", param="content")
    asked = view.requests or [view.content]
    return Call(
        operation="embeddings",
        model=model,
        body=body,
        named_at=named_at,
        batch=batch,
        estimated_tokens=sum(map(estimate_tokens, asked)),
    )


def _config_of(view: _View) -> _Config:
    raw = bytes(_either("generationConfig", view.config_camel, view.config_snake))
    if raw in (b"", b"null"):
        return _Config()
    _LIMITS.members(raw)  # none of them may be there twice
    config, snake = _decode_config(raw), _decode_snake_config(raw)
    config.candidate_count = _either(
        "candidateCount", config.candidate_count, snake.candidate_count
    )
    config.max_output_tokens = _either(
        "maxOutputTokens", config.max_output_tokens, snake.max_output_tokens
    )
    return config


def _either(name: str, camel: _Value, snake: _Value) -> _Value:
    """Return whichever spelling of ``name`` is there."""
    if camel and snake:
        raise BadRequest(
            f"the body has {name!r} in two spellings",
            code="duplicate_key",
            param=name,
        )
    return camel or snake


def _members(operation: str, body: bytes) -> dict[str, Span]:
    """Return where the governed members are, of which none may be there twice.

    Every turn of the model's says ``"role":"model"``. Only a body where it may be the
    name of something, openly or escaped, is searched for that one too.
    """
    if _MODEL_NAMED.search(body):
        return _GOVERNED_AND_MODEL[operation].members(body)
    return _GOVERNED[operation].members(body)


def _model_places(view: _View, body: bytes, members: dict[str, Span]) -> Iterator[Span]:
    """Yield where ``body`` names the model, wherever each operation lets it.

    A governed name that is not at the top may still have been found further down.
    """
    if view.model is not None and "model" in members:
        yield _value_at(body, members["model"].start)
    for name in ("generateContentRequest", "generate_content_request"):
        if name in members and _request_of(view):
            yield from _model_in(body, _value_at(body, members[name].start))
    if view.requests is not None and "requests" in members:
        for span in _elements(body, members["requests"].start):
            yield from _model_in(body, span)


def _request_of(view: _View) -> msgspec.Raw:
    return _either("generateContentRequest", view.request_camel, view.request_snake)


def _model_in(body: bytes, span: Span) -> Iterator[Span]:
    inner = body[span.start : span.end]
    members = _MODEL.members(inner)
    if _decode_named(inner).model is not None:
        yield _value_at(body, span.start + members["model"].start)


def _value_at(body: bytes, start: int) -> Span:
    return Span(start, json_object.value_end(body, start))


def _elements(body: bytes, start: int) -> Iterator[Span]:
    """Yield the places of an array's elements."""
    if body[start : start + 1] != b"[":
        return
    at = start + 1
    while True:
        while body[at] in b" \t\r\n,":
            at += 1
        if body[at] == ord("]"):
            return
        end = json_object.value_end(body, at)
        yield Span(at, end)
        at = end


def _must_be(model: str, named: bytes) -> None:
    name = msgspec.json.decode(named, type=str)
    if bare(name) != model:
        raise BadRequest(
            f"the body names the model {name!r}, and the URL {model!r}",
            code="model_mismatch",
            param="model",
        )
