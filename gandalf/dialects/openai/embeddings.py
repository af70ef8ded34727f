"""Embeddings, both ways.

Source: https://platform.openai.com/docs/api-reference/embeddings. Vectors come as
numbers, or as base64 of little-endian 32-bit floats, which OpenAI's own SDK asks for.
"""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Any

import msgspec

from gandalf.dialects.base import UNREADABLE, Call, Rendered
from gandalf.dialects.conversation import Embeddings, EmbeddingsRequest
from gandalf.dialects.openai import wire
from gandalf.dialects.openai.answers import tokens_of
from gandalf.dialects.openai.views import UsageView
from gandalf.dialects.refusals import refusal
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model


class _Request(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: str | None = None


class _Vector(msgspec.Struct):
    embedding: list[float] | str
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Vector]
    model: str | None = None
    usage: UsageView | None = None


class _Wish(msgspec.Struct):
    encoding_format: str | None = None


_decode_body = msgspec.json.Decoder(dict[str, Any]).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_wish = msgspec.json.Decoder(_Wish).decode
_encode = msgspec.json.Encoder().encode


def parse_embeddings_request(call: Call) -> EmbeddingsRequest:
    """Return what ``call`` wants embedded. Raises BadRequest."""
    try:
        body = _decode_body(call.body)
        request = msgspec.convert(body, _Request)
    except UNREADABLE as error:
        raise refusal(error) from error
    return EmbeddingsRequest(
        inputs=_texts(request.input),
        dimensions=request.dimensions,
        unknown=tuple(wire.strays(body, _Request)),
    )


def _texts(said: str | list[str | int | list[int]]) -> tuple[str, ...]:
    if isinstance(said, str):
        return (said,)
    texts = tuple(each for each in said if isinstance(each, str))
    if len(texts) < len(said):
        raise BadRequest(
            "tokens mean nothing to another provider's model; send text",
            code="unsupported_parameter",
            param="input",
        )
    if not texts:
        raise BadRequest("there is no input", param="input")
    return texts


def render_embeddings_request(request: EmbeddingsRequest, model: Model) -> Rendered:
    """Return the request body."""
    dimensions = (
        {} if request.dimensions is None else {"dimensions": request.dimensions}
    )
    body = {
        "model": model.name,
        "input": request.inputs,
        **dimensions,
        "encoding_format": "float",
    }
    return Rendered(body=_encode(body))


def parse_embeddings(body: bytes) -> Embeddings:
    """Return the vectors. Raises one of ``UNREADABLE`` if there are none."""
    answer = _decode_answer(body)
    answer.data.sort(key=lambda vector: vector.index)
    return Embeddings(
        model=answer.model or "",
        vectors=tuple(_numbers(vector.embedding) for vector in answer.data),
        usage=tokens_of(answer.usage),
    )


def render_embeddings(embeddings: Embeddings, call: Call) -> bytes:
    """Return the body that answers ``call``, in the encoding that it asked for."""
    packed = _decode_wish(call.body).encoding_format == "base64"
    prompt = embeddings.usage.prompt_tokens if embeddings.usage else 0
    return _encode(
        {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": _packed(vector) if packed else vector,
                }
                for index, vector in enumerate(embeddings.vectors)
            ],
            "model": embeddings.model or call.model,
            "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
        }
    )


def _numbers(embedding: list[float] | str) -> tuple[float, ...]:
    if not isinstance(embedding, str):
        return tuple(embedding)
    try:
        packed = base64.b64decode(embedding, validate=True)
        return struct.unpack(f"<{len(packed) // 4}f", packed)
    except (binascii.Error, ValueError, struct.error) as error:
        raise msgspec.ValidationError(f"not a vector: {error}") from error


def _packed(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
