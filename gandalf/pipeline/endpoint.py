"""What a request to one URL asks for."""

from __future__ import annotations

from typing import NamedTuple

from gandalf.dialects.base import Dialect


class Endpoint(NamedTuple):
    """An operation, in a dialect, and what of the request is in the URL."""

    operation: str
    """``chat``, ``embeddings``, ..."""
    dialect: Dialect
    """What the client speaks."""
    rule: str
    """The pattern that the URL matched: the label ``path`` of metrics."""
    model: str = ""
    """From the URL, in dialects that have it there."""
    stream: bool = False
    """Whether the URL asks for a stream, ditto."""
    upload: bool = False
    """Whether its exchange begins with the header section, and takes the body while it
    arrives (``Exchange.upload``)."""
    method: bytes = b"POST"
    path: bytes = b""
    """Where below the provider's base URL, for operations at more than one place."""
    key_header: bytes = b""
    """Where its clients may put their key, beside ``authorization``."""
    key_in_query: bool = False
    """Whether they may put it into the URL, as ``key``."""
