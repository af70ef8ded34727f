"""What telemetry reads of an exchange; ``gandalf.pipeline`` fills it in."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from gandalf.domain.errors import GatewayError
from gandalf.domain.identity import Identity
from gandalf.domain.routing import Route


class Refused(NamedTuple):
    """A request that was refused before it was an exchange."""

    request_id: str
    method: str
    path: str
    status: int
    error: str
    """The code."""
    message: str
    key_id: str = ""
    """Of a key that is known but was refused."""
    key_prefix: str = ""


class Observed(Protocol):
    """The part of an exchange that its usage record does not hold."""

    @property
    def method(self) -> str:
        """The request's."""

    @property
    def rule(self) -> str:
        """The pattern that its URL matched."""

    @property
    def identity(self) -> Identity | None: ...

    @property
    def route(self) -> Route | None: ...

    @property
    def error(self) -> GatewayError | None: ...
