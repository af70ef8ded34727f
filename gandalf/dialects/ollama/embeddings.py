"""Embeddings: ``/api/embed``, and ``/api/embeddings`` as clients of old know it.

Source: https://docs.ollama.com/api/embed; the older form is in ``api/types.go``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.base import Rendered
from gandalf.dialects.conversation import Embeddings, EmbeddingsRequest
from gandalf.dialects.ollama import wire
from gandalf.dialects.ollama.calls import refusing_nonsense
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model


class _EmbedRequest(msgspec.Struct):
    model: str
    input: str | list[str]
    dimensions: int | None = None


class _LegacyRequest(msgspec.Struct):
    model: str
    prompt: str = ""


class _Embedded(msgspec.Struct):
    embeddings: tuple[tuple[float, ...], ...]
    model: str = ""
    prompt_eval_count: int | None = None


_decode_request = msgspec.json.Decoder(_EmbedRequest).decode
_decode_legacy_request = msgspec.json.Decoder(_LegacyRequest).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_embedded = msgspec.json.Decoder(_Embedded).decode
_encode = msgspec.json.Encoder().encode


def parse_embeddings_request(call: BaseCall) -> EmbeddingsRequest:
    """Return what ``call`` wants embedded. Raises BadRequest."""
    with refusing_nonsense():
        if call.operation == "legacy_embeddings":
            request = _legacy_request(call.body)
        else:
            request = _request(call.body)
    if not request.inputs:
        raise BadRequest("there is nothing to embed", param="input")
    return request


def _request(body: bytes) -> EmbeddingsRequest:
    asked = _decode_request(body)
    texts = asked.input
    return EmbeddingsRequest(
        inputs=(texts,) if isinstance(texts, str) else tuple(texts),
        dimensions=asked.dimensions or None,
        unknown=_unknown(body, ("model", "input", "dimensions")),
    )


def _legacy_request(body: bytes) -> EmbeddingsRequest:
    prompt = _decode_legacy_request(body).prompt
    return EmbeddingsRequest(
        inputs=(prompt,) if prompt else (), unknown=_unknown(body, ("model", "prompt"))
    )


def _unknown(body: bytes, own: tuple[str, ...]) -> tuple[str, ...]:
    unknown: list[str] = []
    for name, value in _decode_members(body).items():
        # To cut what is too long is the default.
        if name in own or bytes(value) == (b"true" if name == "truncate" else b"null"):
            continue
        if name == "options" and bytes(value).startswith(b"{"):
            unknown += (f"options.{option}" for option in _decode_members(value))
        elif bytes(value) != b"null":
            unknown.append(name)
    return tuple(unknown)


def render_embeddings_request(request: EmbeddingsRequest, model: Model) -> Rendered:
    """Return the request body."""
    body: dict[str, Any] = {"model": model.name, "input": list(request.inputs)}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return Rendered(body=_encode(body))


def parse_embeddings(body: bytes) -> Embeddings:
    """Return the vectors. Raises one of ``UNREADABLE`` if there are none."""
    embedded = _decode_embedded(body)
    return Embeddings(
        model=embedded.model,
        vectors=embedded.embeddings,
        usage=wire.usage_of(embedded.prompt_eval_count, None, None),
    )


def render_embeddings(embeddings: Embeddings, call: BaseCall) -> bytes:
    """Return the body that answers ``call``, which is of this dialect."""
    if call.operation == "legacy_embeddings":
        return _encode({"embedding": next(iter(embeddings.vectors), ())})
    return _encode(
        {
            "model": embeddings.model or call.model,
            "embeddings": embeddings.vectors,
            **wire.counts_of(embeddings.usage),
        }
    )
