"""The endpoints that run the pipeline: which operation, in which dialect."""

from __future__ import annotations

from typing import NamedTuple

from gandalf.dialects.base import Dialect
from gandalf.dialects.registry import OPENAI


class Endpoint(NamedTuple):
    """What a request to one URL asks for."""

    operation: str
    dialect: Dialect
    model: str = ""
    """From the URL, in dialects that have it there."""
    stream: bool = False
    """Whether the URL asks for a stream, ditto."""
    upload: bool = False
    """Whether its exchange begins with the header section, and takes the body while it
    arrives (``Exchange.upload``)."""
    path: bytes = b""
    """Where below the provider's base URL, for operations at more than one place."""
    method: bytes = b"POST"


HOT_ROUTES: dict[tuple[bytes, bytes], Endpoint] = {
    (b"POST", b"/v1/chat/completions"): Endpoint("chat", OPENAI),
    (b"POST", b"/v1/embeddings"): Endpoint("embeddings", OPENAI),
}
"""By method and path."""
