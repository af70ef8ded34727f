"""Amazon Bedrock: Anthropic's models in their own dialect, all others in Converse.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/
API_runtime_InvokeModel.html, .../API_runtime_Converse.html, and
https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html. The model is
named in the path, and so is whether the answer is to be a stream. Requests are signed
for the service ``bedrock`` (not ``bedrock-runtime``, which is only the host), unless
there is a Bedrock API key.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlsplit

import msgspec

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects import converse, json_object, sse
from gandalf.dialects.base import UNREADABLE, UpstreamDialect
from gandalf.dialects.conversation import Failed
from gandalf.dialects.converse.models import without_region
from gandalf.dialects.event_stream import Decoder, Message, failed_of
from gandalf.domain.errors import BadRequest, Fault, UpstreamError
from gandalf.providers.base import Ask, RemoteProvider, UpstreamRequest, api_key_of
from gandalf.providers.credentials import AwsKeys, Credential
from gandalf.providers.fields import parse, render
from gandalf.providers.sigv4 import Signer

SERVICE = "bedrock"
STREAM_CONTENT_TYPE = b"application/vnd.amazon.eventstream"
API_KEY_VARIABLE = "AWS_BEARER_TOKEN_BEDROCK"

Fields = Sequence[tuple[bytes, bytes]]


class Bedrock(RemoteProvider):
    """One account in one region. Each dialect adds ``request``.

    Args:
        config: Its section.
        credential: Its keys; needed unless there is an API key.
        dialect: What is spoken there.
        environment: Where AWS's own variable for an API key may be.
    """

    def __init__(
        self,
        config: ProviderConfig,
        credential: Credential[AwsKeys] | None,
        dialect: UpstreamDialect,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        super().__init__(config, _base_url(config.region), dialect)
        self.stream_content_type = STREAM_CONTENT_TYPE
        self.credential = credential
        self._fields = [
            (b"content-type", b"application/json"),
            (b"accept-encoding", b"identity"),
        ]
        self._signer: Signer | None = None
        if key := _api_key_of(config, environment):
            self._fields.append((b"authorization", b"Bearer " + key.encode()))
        else:
            self._signer = Signer(_authority(self.base_url), config.region, SERVICE)

    async def _post(
        self, model: str, action: bytes, body: bytes, forwarded: Fields = ()
    ) -> UpstreamRequest:
        """Return the request for ``action`` of ``model``, with its credentials."""
        name = quote(model, safe="").encode()
        target = b"%b/model/%b/%b" % (self.prefix, name, action)
        fields = [*forwarded, *self._fields]
        if self._signer is not None:
            fields += await self._signature(self._signer, target, body)
        return UpstreamRequest(b"POST", target, render(fields), body)

    async def _signature(self, signer: Signer, target: bytes, body: bytes) -> Fields:
        if self.credential is None:
            raise UpstreamError(
                self.name, "there are no AWS credentials", fault=Fault.GATEWAY
            )
        keys: AwsKeys = await self.credential.get()
        return signer.sign(keys, time.time(), b"POST", target, self._fields[:1], body)

    def _refuse(self, operation: str) -> BadRequest:
        return BadRequest(
            f"{self.name} has no {operation}", code="unsupported_operation"
        )


class BedrockConverse(Bedrock):
    """Models of all makers, in Converse."""

    def __init__(
        self,
        config: ProviderConfig,
        credential: Credential[AwsKeys] | None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        super().__init__(config, credential, converse, environment)

    async def request(self, ask: Ask) -> UpstreamRequest:
        """Return the HTTP request for ``ask``; its body names no model."""
        if ask.operation == "count_tokens":
            # Tokens are counted by a model, not by a profile to run it.
            model = without_region(ask.model)
            return await self._post(model, b"count-tokens", ask.body)
        if ask.operation != "chat":
            raise self._refuse(ask.operation)
        action = b"converse-stream" if ask.stream else b"converse"
        return await self._post(ask.model, action, ask.body)


class BedrockAnthropic(Bedrock):
    """Anthropic's models, in their own dialect.

    Args:
        config: Its section.
        credential: Its keys; needed unless there is an API key.
        dialect: Anthropic's.
        environment: Where AWS's own variable for an API key may be.
    """

    def __init__(
        self,
        config: ProviderConfig,
        credential: Credential[AwsKeys] | None,
        dialect: UpstreamDialect,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        super().__init__(config, credential, dialect, environment)
        self.stream_framing = AnthropicFraming
        self.relays_errors = False

    async def request(self, ask: Ask) -> UpstreamRequest:
        """Return the HTTP request for ``ask``; model and betas move out of and in."""
        if ask.operation != "chat":
            raise self._refuse(ask.operation)
        action = b"invoke-with-response-stream" if ask.stream else b"invoke"
        fields = parse(ask.headers)
        betas = b",".join(v for n, v in fields if n == b"anthropic-beta")
        forwarded = [field for field in fields if field[0] not in _NOT_HERE]
        body = invoke_body(ask.body, betas)
        return await self._post(ask.model, action, body, forwarded)


# Bedrock has these in the body, or takes ``accept`` for the form of the answer.
_NOT_HERE = frozenset({b"anthropic-version", b"anthropic-beta", b"accept"})


def _base_url(region: str) -> str:
    china = ".cn" if region.startswith("cn-") else ""
    return f"https://bedrock-runtime.{region}.amazonaws.com{china}"


def _authority(base_url: str) -> str:
    """Return what the transport puts into ``host`` for requests to ``base_url``."""
    url = urlsplit(base_url)
    host = url.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    default = 443 if url.scheme == "https" else 80
    return host if url.port in (None, default) else f"{host}:{url.port}"


def _api_key_of(config: ProviderConfig, environment: Mapping[str, str]) -> str:
    if config.auth.type == "aws_sigv4":
        return ""
    return api_key_of(config) or environment.get(API_KEY_VARIABLE, "")


# The body of a call of Anthropic's, as Bedrock wants it.


class _Top(msgspec.Struct):
    """Which of the names that matter are there, at the top level."""

    model: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    stream: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    anthropic_version: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    anthropic_beta: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_top = msgspec.json.Decoder(_Top).decode
_GOVERNED = json_object.Governed(*_Top.__struct_fields__)
_MOVED = ("model", "stream", "anthropic_version")
_VERSION = b'"anthropic_version":"bedrock-2023-05-31"'
_COMMA = b","


def invoke_body(body: bytes, betas: bytes = b"") -> bytes:
    """Return a body of Anthropic's Messages for Bedrock, all else as it was.

    Args:
        body: As Anthropic itself would get it.
        betas: What would be in its header ``anthropic-beta``.

    Raises:
        BadRequest: It is no JSON object, or says twice what may be said once.
    """
    try:
        top = _decode_top(body)
    except UNREADABLE as error:
        raise BadRequest("the body is not a JSON object") from error
    members = _GOVERNED.members(body)
    edits = [
        (_member(body, members[name].start), b"")
        for name in _MOVED
        if getattr(top, name) is not msgspec.UNSET
    ]
    added = [_VERSION]
    if betas and top.anthropic_beta is msgspec.UNSET:
        names = [name.strip() for name in betas.decode("latin-1").split(",")]
        named = msgspec.json.encode([name for name in names if name])
        added.append(b'"anthropic_beta":' + named)
    kept = json_object.splice(body, edits).rstrip()[:-1].rstrip()
    between = b"" if kept.endswith((b"{", b",")) else b","
    return b"%b%b%b}" % (kept, between, b",".join(added))


def _member(body: bytes, value_at: int) -> json_object.Span:
    """Return where the member is whose value begins at ``value_at``.

    With the comma behind it, if there is one. Names that matter hold no quote, not
    even an escaped one.
    """
    quote_at = body.rindex(b'"', 0, value_at)
    start = body.rindex(b'"', 0, quote_at)
    end = json_object.value_end(body, value_at)
    after = len(body) - len(body[end:].lstrip())
    return json_object.Span(
        start, after + 1 if body[after : after + 1] == b"," else end
    )


# The stream of a call of Anthropic's.


class _Chunk(msgspec.Struct):
    # Base64, which the decoder takes off.
    event: bytes = msgspec.field(name="bytes", default=b"")


class _EventType(msgspec.Struct):
    type: str


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_type = msgspec.json.Decoder(_EventType).decode
_TYPE = b'{"type":"'

# https://docs.anthropic.com/en/api/errors
_ERROR_TYPES = {
    400: "invalid_request_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class AnthropicFraming:
    """Unpacks Anthropic's server-sent events from Amazon's event stream."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = Decoder()

    def feed(self, data: bytes) -> bytes:
        """Return the server-sent events that ``data`` completes.

        Raises:
            FramingError: It is no event stream.
        """
        return b"".join(map(_unpacked, self._decoder.feed(data)))

    def flush(self) -> bytes:
        """Return nothing: half a message says nothing."""
        self._decoder.flush()
        return b""


def _unpacked(message: Message) -> bytes:
    failed = failed_of(message)
    if failed is not None:
        return _error(failed)
    if message.headers.get(":event-type") != "chunk":
        return b""
    try:
        event = _decode_chunk(message.payload).event
        return sse.event(_one_line(event), _type_of(event))
    except UNREADABLE:
        return _error(Failed(message="an event of the stream is unreadable"))


def _type_of(event: bytes) -> bytes:
    end = event.find(b'"', len(_TYPE))
    if end > 0 and event.startswith(_TYPE):
        # As Bedrock writes them; decoding costs more.
        return event[len(_TYPE) : end]
    return _decode_type(event).type.encode()


def _one_line(event: bytes) -> bytes:
    if b"\n" in event or b"\r" in event:
        return msgspec.json.format(event, indent=-1)
    return event


def _error(failed: Failed) -> bytes:
    kind = _ERROR_TYPES.get(failed.status or 500, "api_error")
    detail = {"type": kind, "message": failed.message}
    return sse.event(msgspec.json.encode({"type": "error", "error": detail}), b"error")
