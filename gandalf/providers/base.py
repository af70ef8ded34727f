"""What a provider must offer, and what it needs from whoever sends for it.

A provider says where a request goes and with which credentials; the bytes' meaning
is its dialect's business and the sending is the transport's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from gandalf.config import Disconnect, Timeouts
from gandalf.config import Provider as ProviderConfig
from gandalf.dialects.base import UpstreamDialect
from gandalf.domain.compat import OPENAI, Compat
from gandalf.domain.model import Model
from gandalf.providers.body import RefusedFields
from gandalf.providers.watch import Watch

Headers = dict[bytes, bytes]
"""Names in lower case. Repeated fields are joined with ``, ``."""


class Upload(Protocol):
    """A request body that is passed on while it arrives, and never held whole."""

    @property
    def length(self) -> int | None:
        """Bytes in all; None if the client did not say."""

    async def receive(self) -> bytes:
        """Return the bytes that are there, waiting for some; b"" at the end.

        Raises:
            GatewayError: The client sent it too slowly, or too much of it.
        """


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One HTTP request to an upstream, credentials included.

    ``headers`` has neither ``host`` nor ``content-length``: the transport adds them.
    """

    method: bytes
    target: bytes
    """Path and query, as in the request line."""
    headers: bytes
    """As ``fields`` has them."""
    body: bytes
    upload: Upload | None = None
    """What follows ``body``, if not all of it is there yet."""


class UpstreamResponse(Protocol):
    """An answer whose header section has arrived."""

    status: int
    headers: Headers

    @property
    def complete(self) -> bool:
        """Whether all of it is known to have been received."""

    async def receive(self) -> bytes:
        """Return the body bytes that are there, waiting for some; b"" at the end.

        Raises:
            UpstreamBroken: The body broke off, or is not validly framed.
        """

    def rest(self) -> bytes | None:
        """Return the rest of the body if all of it has come; None: ``receive`` it.

        So that a short answer, which comes with its header section, needs no waiting.
        """

    def close(self) -> None:
        """Let go of the response, whatever its state. Synchronous, idempotent.

        A ``receive`` under way in another task fails.

        A connection whose response was read to its end is kept for the next request;
        any other is closed at once, which tells the upstream to stop working.
        """


@runtime_checkable
class Upstream(Protocol):
    """The connections to one provider."""

    async def send(
        self, request: UpstreamRequest, timeouts: Timeouts, watch: Watch
    ) -> UpstreamResponse:
        """Send ``request`` and wait for the response's header section.

        Sets the phases ``connect`` and ``response_headers`` on ``watch``, which goes
        on to keep the time of the response's ``receive``.

        Raises:
            UpstreamBroken: No connection, or it broke before the header section.
        """

    def close(self) -> None:
        """Close what is idle now and the rest when it becomes so. Idempotent."""


@runtime_checkable
class Connectable(Upstream, Protocol):
    """An upstream that can connect before there is a request."""

    @property
    def idle(self) -> int:
        """Connections kept for a next request."""

    async def connect(self, limit: float) -> None:
        """Open a connection within ``limit`` seconds and keep it for a next request.

        Raises:
            UpstreamBroken: There is none.
        """


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be asked of an upstream, in its provider's dialect."""

    operation: str
    """``chat``, ``embeddings``, ..."""
    model: str
    """The upstream's name for it."""
    body: bytes
    stream: bool = False
    headers: bytes = b""
    """The client's, as far as they are the upstream's business, as ``fields`` has them.
    Only if it speaks the same dialect."""
    method: bytes = b"POST"
    path: bytes = b""
    """Where below the base URL, for operations that are not at one place each."""
    query: bytes = b""
    """The client's, without credentials. Only if it speaks the same dialect."""
    content_type: bytes = b"application/json"
    upload: Upload | None = None
    """What follows ``body``, if not all of it is there yet."""


class StreamFraming(Protocol):
    """Takes a dialect's stream out of the framing of a hosting (Bedrock's)."""

    def feed(self, data: bytes) -> bytes:
        """Return what ``data`` completes, in the dialect's own framing.

        Raises:
            sse.EventTooLarge: A frame is too large, or is none.
        """

    def flush(self) -> bytes:
        """Return what is left when the upstream has ended."""


class Provider(Protocol):
    """One configured upstream."""

    name: str
    """Instance name, e.g. ``openai-eu``: the label in routes, records and metrics."""
    dialect: UpstreamDialect
    """What it speaks."""
    timeouts: Timeouts
    on_client_disconnect: Disconnect
    stream_content_type: bytes
    """Of its streams: the dialect's own unless its hosting frames them."""
    stream_framing: Callable[[], StreamFraming] | None
    """Makes what unpacks one stream of a hosting that frames them."""
    refused_fields: RefusedFields | None
    """Fields that its vendor refuses in a request of the same dialect."""
    relays_errors: bool
    """Whether its error bodies are the dialect's own: a client that speaks it gets them
    as they are. Hostings have errors of their own."""

    def model(self, name: str) -> Model:
        """Return what is known of the model that this provider calls ``name``."""

    async def request(self, ask: Ask) -> UpstreamRequest:
        """Return the HTTP request for ``ask``, credentials included.

        Waits only if a credential must be fetched first.

        Raises:
            UpstreamError: There is no credential to be had.
            BadRequest: This provider has no such operation.
        """


@runtime_checkable
class ListsModels(Protocol):
    """A provider whose API lists its models."""

    async def models_request(self) -> UpstreamRequest:
        """Return the HTTP request for the list of models, credentials included.

        Raises:
            UpstreamError: There is no credential to be had.
        """


class RemoteProvider:
    """What providers at a base URL have in common; each adds ``request``.

    Args:
        config: Its section.
        base_url: Where to, if the section does not say.
        dialect: What is spoken there.
        compat: Rules of the vendor, which the section may correct.
    """

    stream_framing: Callable[[], StreamFraming] | None = None
    relays_errors = True
    credential: Any = None
    """The ``Credential`` it proves itself with, if that must be kept fresh."""
    catalogue_id = ""
    """What the model catalogue calls it; "" if it has no place there."""

    def __init__(
        self,
        config: ProviderConfig,
        base_url: str,
        dialect: UpstreamDialect,
        compat: Compat = OPENAI,
    ) -> None:
        self.name = config.name
        self.compat = corrected(compat, config)
        self.refused_fields = RefusedFields.of(self.compat)
        self.dialect = dialect
        self.timeouts = config.timeouts
        self.on_client_disconnect = config.on_client_disconnect
        self.stream_content_type = dialect.STREAM_CONTENT_TYPE
        self.base_url = (config.base_url or base_url).rstrip("/")
        self.prefix = urlsplit(self.base_url).path.encode()
        """The base URL's path: what the target of every request begins with."""
        self.known: dict[str, Model] = {}
        """What the catalogue knows of its models; see ``catalogue.equip``."""

    def model(self, name: str) -> Model:
        """Return what is known of the model that this provider calls ``name``."""
        return self.known.get(name) or Model(name=name, compat=self.compat)


def corrected(compat: Compat, config: ProviderConfig) -> Compat:
    """Return ``compat`` with what the section of the provider says otherwise."""
    said = msgspec.structs.asdict(config.compat)
    changes = {name: value for name, value in said.items() if value is not None}
    return msgspec.structs.replace(compat, **changes) if changes else compat


def api_key_of(config: ProviderConfig) -> str:
    """Return the key that ``config`` gives for the upstream; may be empty."""
    key = config.auth.api_key or config.api_key
    return key.reveal() if key is not None else ""
