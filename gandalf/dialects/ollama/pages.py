"""What the gateway says of its models in Ollama's words.

Sources: https://docs.ollama.com/api/tags, https://docs.ollama.com/api/show and
``api/types.go`` of Ollama. Its clients index into what is always there (the command
line tool cuts the digest to twelve characters), so what a gateway cannot know has the
value that stands for nothing rather than being left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from gandalf.dialects.base import UNREADABLE
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model

# Go's zero time, which its clients show as "never".
_NEVER = "0001-01-01T00:00:00Z"
_ARCHITECTURE = "gandalf"

_encode = msgspec.json.Encoder().encode


def render_tags(names: Iterable[str]) -> bytes:
    """Return the answer of ``/api/tags``: the models of these names."""
    return _encode({"models": [_tag(name) for name in names]})


def _tag(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": _NEVER,
        "size": 0,
        # A stand-in that is at least the same for the same name.
        "digest": hashlib.sha256(name.encode(errors="replace")).hexdigest(),
        "details": _details(),
    }


def render_show(model: Model) -> bytes:
    """Return the answer of ``/api/show``: what is known of ``model``."""
    info: dict[str, Any] = {
        "general.architecture": _ARCHITECTURE,
        "general.basename": model.name,
    }
    if model.context_window is not None:
        info[f"{_ARCHITECTURE}.context_length"] = model.context_window
    return _encode(
        {
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _details(),
            "model_info": info,
            "capabilities": _capabilities(model),
            "modified_at": _NEVER,
        }
    )


def _capabilities(model: Model) -> list[str]:
    """Return what ``model`` can do, by which clients decide what they offer.

    Nearly every model calls tools: they are claimed if nobody knows better. Nobody
    sends an image or a wish to think because of a guess.
    """
    claims = {
        "completion": True,
        "tools": model.tools is not False,
        "vision": model.images is True,
        "thinking": model.thinking is True,
    }
    return [name for name, claimed in claims.items() if claimed]


def render_version(version: str) -> bytes:
    """Return the answer of ``/api/version``."""
    return _encode({"version": version})


def _details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "",
        "family": "",
        "families": [],
        "parameter_size": "",
        "quantization_level": "",
    }


class _Show(msgspec.Struct):
    model: str = ""
    name: str = ""
    """What older clients call it."""


_decode_show = msgspec.json.Decoder(_Show).decode


def read_show(body: bytes) -> str:
    """Return the model that a request to ``/api/show`` is about.

    Raises:
        BadRequest: It names none.
    """
    try:
        asked = _decode_show(body)
    except UNREADABLE as error:
        raise BadRequest(f"the body cannot be read: {error}") from error
    if not (asked.model or asked.name):
        raise BadRequest("model is required", param="model")
    return asked.model or asked.name
