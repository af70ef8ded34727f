"""Embeddings.

Source: https://ai.google.dev/api/embeddings. One text is embedded by ``embedContent``,
several by ``batchEmbedContents``, whose body has ``requests``: that is how a provider
tells them apart (``is_batch``).
"""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.dialects.base import UNREADABLE, Call, Rendered
from gandalf.dialects.conversation import Embeddings, EmbeddingsRequest
from gandalf.dialects.gemini.answers import (
    NO_RAW,
    UsageView,
    tokens_of,
    usage_metadata,
)
from gandalf.dialects.gemini.calls import Call as GeminiCall
from gandalf.dialects.gemini.calls import resource
from gandalf.dialects.gemini.fields import Fields, fields_of
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model

Json = dict[str, Any]


class _Vector(msgspec.Struct):
    values: tuple[float, ...] = ()


class _EmbeddingsView(msgspec.Struct, rename="camel"):
    embedding: _Vector | None = None
    embeddings: list[_Vector] | None = None
    usage_metadata: UsageView | None = None


class _BatchView(msgspec.Struct):
    requests: msgspec.Raw = NO_RAW


_decode_embeddings = msgspec.json.Decoder(_EmbeddingsView).decode
_decode_batch = msgspec.json.Decoder(_BatchView).decode


def is_batch(body: bytes) -> bool:
    """Whether ``body`` asks for several contents to be embedded."""
    try:
        return bytes(_decode_batch(body).requests) not in (b"", b"null")
    except UNREADABLE:
        return False


def parse_embeddings_request(call: Call) -> EmbeddingsRequest:
    """Return what ``call`` wants embedded.

    Raises:
        BadRequest: It is not text, or not all of it is to be embedded alike.
    """
    unknown: list[str] = []
    body = fields_of(call.body, unknown)
    requests = body.objects("requests") if "requests" in body.names() else [body]
    if not requests:
        raise BadRequest("requests is empty", param="requests")
    texts: list[str] = []
    wishes: set[tuple[int | None, str | None]] = set()
    for request in requests:
        texts.append(_text_of(request))
        wishes.add(_wishes_of(request))
        request.close()
    if len(wishes) > 1:
        raise BadRequest(
            "the model's provider embeds all texts of a request alike",
            code="unsupported_parameter",
            param="requests",
        )
    dimensions, task = wishes.pop()
    if task is not None:
        unknown.append("taskType")
    return EmbeddingsRequest(
        inputs=tuple(texts),
        dimensions=dimensions,
        unknown=tuple(dict.fromkeys(unknown)),
    )


def render_embeddings_request(request: EmbeddingsRequest, model: Model) -> Rendered:
    """Return the body: of ``embedContent`` for one text, else with ``requests``."""
    asked = [_request_for(text, request, model) for text in request.inputs]
    body = asked[0] if len(asked) == 1 else {"requests": asked}
    return Rendered(body=msgspec.json.encode(body))


def parse_embeddings(body: bytes) -> Embeddings:
    """Return the vectors. Raises one of ``UNREADABLE`` if there are none."""
    view = _decode_embeddings(body)
    vectors = view.embeddings
    if view.embedding is not None:
        vectors = [view.embedding]
    if vectors is None:
        raise msgspec.ValidationError("no embeddings")
    return Embeddings(
        vectors=tuple(vector.values for vector in vectors),
        usage=tokens_of(view.usage_metadata),
    )


def render_embeddings(embeddings: Embeddings, call: Call) -> bytes:
    """Return the body that answers ``call``."""
    vectors = [{"values": vector} for vector in embeddings.vectors]
    batch = isinstance(call, GeminiCall) and call.batch
    told: Json = {"embeddings": vectors} if batch else {"embedding": vectors[0]}
    if embeddings.usage is not None:
        told["usageMetadata"] = usage_metadata(embeddings.usage)
    return msgspec.json.encode(told)


def _text_of(request: Fields) -> str:
    request.raw("model")
    content = request.object("content")
    if content is None:
        param = f"{request.path}content"
        raise BadRequest("there is nothing to embed", param=param)
    content.raw("role")
    texts = []
    for part in content.objects("parts"):
        text = part.text("text")
        if text is None:
            raise BadRequest(
                "the model's provider embeds text only",
                code="unsupported_parameter",
                param=f"{part.path}{next(iter(part.names()), 'text')}",
            )
        texts.append(text)
        part.close()
    content.close()
    return "".join(texts)


def _wishes_of(request: Fields) -> tuple[int | None, str | None]:
    """Return dimensions and task, which may stand in a configuration of their own."""
    inner = request.object("embedContentConfig")
    dimensions = request.integer("outputDimensionality")
    task = request.text("taskType")
    if inner is not None:
        dimensions = dimensions or inner.integer("outputDimensionality")
        task = task or inner.text("taskType")
        inner.close()
    return dimensions, task


def _request_for(text: str, request: EmbeddingsRequest, model: Model) -> Json:
    asked: Json = {
        "model": resource(model.name),
        "content": {"parts": [{"text": text}]},
    }
    if request.dimensions is not None:
        asked["outputDimensionality"] = request.dimensions
    return asked
