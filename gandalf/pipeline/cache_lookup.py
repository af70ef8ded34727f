"""Answers from the cache, and keeps answers for it.

Only what a second call would answer the same is kept: embeddings, and chats of one
choice with ``temperature`` 0 or a ``seed``. And only whole answers: not an error, not
a stream that broke off, not one cut short by a limit or a filter.

The key is a hash of all that the client sent but what cannot change the answer, so
that a field nobody here has heard of makes a request a different one. Organisations
never share answers, nor do versions of a route.

Streams do not wait for an identical one under way: they would see nothing until its
end, and their first token at once is worth more than the second call saved.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import trio

from gandalf.actors.response_cache import CachedAnswer, Capture, ResponseCache
from gandalf.actors.routes import RouteTable
from gandalf.dialects.base import UNREADABLE, Call
from gandalf.dialects.json_object import is_vast
from gandalf.domain.identity import Identity
from gandalf.domain.routing import Route
from gandalf.domain.usage import EndReason
from gandalf.pipeline.exchange import Exchange, Reply, is_strict
from gandalf.pipeline.stage import Entered
from gandalf.providers.base import Headers

# Who asks, and what the provider is to note about it or to keep warm. Not here:
# "store" (a hit would store nothing), "service_tier" (the answer names it), "stream"
# and "stream_options" (they shape the bytes of the answer).
IRRELEVANT = frozenset(
    {
        "user",
        "safety_identifier",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)

# Answers that depend on the day they are given.
LIVE = "web_search_options"

CLIENTS_TOOLS = frozenset({"function", "custom"})
DECLARATIONS = frozenset({"functionDeclarations", "function_declarations"})

# What a model says of an answer that it brought to its end, in any dialect. What says
# nothing, or a word unknown here, may have been cut short, and is not kept.
WHOLE = frozenset(
    {
        "stop",
        "tool_calls",
        "function_call",
        # Anthropic
        "end_turn",
        "stop_sequence",
        "tool_use",
        # Gemini
        "STOP",
    }
)

# Header fields of a request that reach the upstream and change what it answers.
SHAPING = (b"anthropic-version", b"anthropic-beta", b"openai-beta")

JSON = b"application/json"

_BYPASSED = b"x-gandalf-cache: bypass\r\n"

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder(order="sorted").encode


class Replay:
    """A stream from the cache."""

    __slots__ = ("_answer", "_rest")

    def __init__(self, answer: CachedAnswer) -> None:
        self._answer = answer
        self._rest = answer.body

    async def receive(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest

    @property
    def ending(self) -> bytes:
        return self._answer.ending


class CacheLookup:
    """Replies with a kept answer if there is one, else keeps the one that comes."""

    def __init__(self, cache: ResponseCache, routes: RouteTable) -> None:
        self._cache = cache
        self._routes = routes

    def enter(self, exchange: Exchange) -> Entered:
        call = exchange.call
        assert call is not None  # noqa: S101 - read_call comes before
        key = self._key(exchange, call) if repeatable(call) else None
        if key is None:
            self._cache.bypass()
            exchange.reply_lines += _BYPASSED
            return None
        return self._look_up(exchange, call, key)

    def settle(self, exchange: Exchange) -> None:
        capture, exchange.capture = exchange.capture, None
        if capture is None:
            return
        if _may_be_kept(exchange, capture):
            self._keep(exchange, capture)
        elif exchange.end_reason is EndReason.CLIENT_DISCONNECT:
            self._cache.pass_on(capture)
        else:
            self._cache.give_up(capture)

    def _keep(self, exchange: Exchange, capture: Capture) -> None:
        identity, call = exchange.identity, exchange.call
        self._cache.keep(
            capture,
            _answer(exchange, capture),
            self._ttl(exchange),
            alias=call.model if call is not None else "",
            org_id=identity.org_id if identity is not None else "",
        )

    def _key(self, exchange: Exchange, call: Call) -> bytes | None:
        """Return what the answer is kept under; None if the cache has no part in it."""
        identity = exchange.identity
        assert identity is not None  # noqa: S101 - authenticate comes before
        route = self._routes.find(call.model)
        if (
            route is None
            or not self._routes.config().cache.enabled
            or b"no-store" in _cache_control(exchange.headers)
        ):
            return None
        return cache_key(exchange, call, identity, route)

    async def _look_up(
        self, exchange: Exchange, call: Call, key: bytes
    ) -> Reply | None:
        found = await self._find(exchange, call, key)
        reply: Reply | None = None
        if isinstance(found, CachedAnswer):
            exchange.cache = "hit"
            reply = _replay(exchange, found)
        else:
            exchange.capture = found
        exchange.reply_lines += b"x-gandalf-cache: %b\r\n" % exchange.cache.encode()
        return reply

    async def _find(
        self, exchange: Exchange, call: Call, key: bytes
    ) -> CachedAnswer | Capture:
        if not _cache_control(exchange.headers).isdisjoint((b"no-cache", b"max-age=0")):
            return self._cache.refresh(key)
        exchange.cache = "miss"
        if call.stream:
            return self._cache.get(key)
        waiting_since = trio.current_time()
        found = await self._cache.join(key)
        # Whoever waited, waited for somebody else's upstream.
        exchange.upstream_time += trio.current_time() - waiting_since
        return found

    def _ttl(self, exchange: Exchange) -> float:
        route = exchange.route
        if route is not None and route.cache_ttl is not None:
            return route.cache_ttl
        return self._routes.config().cache.default_ttl


def repeatable(call: Call) -> bool:
    """Whether the same call again would be answered the same."""
    if call.operation == "embeddings":
        return True
    settled = call.temperature == 0 or call.seed is not None
    return call.operation == "chat" and call.n <= 1 and settled


def cache_key(
    exchange: Exchange, call: Call, identity: Identity, route: Route
) -> bytes | None:
    """Return what ``call``'s answer is kept under; None if it must not be kept."""
    body = canonical(call.body)
    if body is None:
        return None
    form = exchange.stream_format
    scope = (
        identity.org_id,
        exchange.dialect.NAME,
        exchange.rule,
        route.alias,
        route.version,
        form.content_type.decode() if form is not None else "",
        is_strict(exchange.headers, route),
        exchange.query.decode("latin-1"),
        *(exchange.headers.get(name, b"").decode("latin-1") for name in SHAPING),
    )
    return hashlib.sha256(_encode(scope) + body).digest()


def canonical(body: bytes) -> bytes | None:
    """Return the same bytes for bodies that mean the same; None for live ones.

    That needs to know what a body means. Where parsers may differ (a name given twice,
    of which msgspec takes the last and others the first; a number spelled strangely),
    it is taken as it was sent: else one caller could plant an answer for another.
    """
    if is_vast(body):
        return body
    try:
        fields = _decode(body)
        as_sent = msgspec.json.format(body, indent=-1)
    except UNREADABLE:
        return body
    if LIVE in fields or _has_server_tools(fields.get("tools")):
        return None
    if msgspec.json.encode(fields) != as_sent:
        return body
    return _encode({k: v for k, v in fields.items() if k not in IRRELEVANT})


def _has_server_tools(tools: object) -> bool:
    """Whether ``tools``, in any dialect, has one that the provider itself runs.

    What a search or a fetched page says depends on the day.
    """
    return isinstance(tools, list) and any(map(_is_server_tool, tools))


def _is_server_tool(tool: object) -> bool:
    if not isinstance(tool, dict):
        return False
    kind = tool.get("type")
    if kind is not None:
        return kind not in CLIENTS_TOOLS
    # Anthropic's own tools have a name, and Gemini's stand beside their declarations.
    return "name" not in tool and not DECLARATIONS.issuperset(tool)


def _cache_control(headers: Headers) -> set[bytes]:
    value = headers.get(b"cache-control")
    return set() if value is None else set(value.lower().replace(b" ", b"").split(b","))


def _replay(exchange: Exchange, answer: CachedAnswer) -> Reply:
    exchange.reply_headers.append((b"x-gandalf-target", answer.target.encode()))
    exchange.dropped, exchange.approximated = answer.dropped, answer.approximated
    body = Replay(answer) if answer.stream else answer.body
    return Reply(answer.status, answer.content_type, body)


def _may_be_kept(exchange: Exchange, capture: Capture) -> bool:
    call = exchange.call
    return (
        call is not None
        and exchange.end_reason is EndReason.COMPLETE
        and exchange.error is None
        and exchange.status == 200
        and not capture.dead
        and (call.operation != "chat" or exchange.finish_reason in WHOLE)
        # A stream without its ending is not whole, whatever else is said of it.
        and (not call.stream or capture.ending != b"")
    )


def _answer(exchange: Exchange, capture: Capture) -> CachedAnswer:
    stream = exchange.call is not None and exchange.call.stream
    form = exchange.stream_format
    events = exchange.dialect.STREAM_CONTENT_TYPE if form is None else form.content_type
    return CachedAnswer(
        status=exchange.status,
        content_type=events if stream else JSON,
        dropped=exchange.dropped,
        approximated=exchange.approximated,
        body=capture.body,
        stream=stream,
        ending=capture.ending,
        target=exchange.served_by.name if exchange.served_by is not None else "",
    )
