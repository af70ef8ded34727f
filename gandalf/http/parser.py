"""Strict HTTP/1.1 requests out of bytes. No I/O: bytes in, requests out.

llhttp refuses most of what two servers could read in two ways: bare LF and CR, folded
lines, a space before the colon, odd or repeated lengths, a length beside chunks. What
it lets pass and we do not is refused here, as are requests larger than their limits,
which are told apart as early as possible: a body that is announced as too large is
refused before any of it is read.

A client that keeps its connection sends the same header section again and again, but
for the length of the body. Such a request is compared with the one before, not parsed.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Container
from typing import NoReturn

import httptools
import trio

from gandalf.domain.errors import (
    BadRequest,
    ExpectationFailed,
    GatewayError,
    HeadersTooLarge,
    MethodNotAllowed,
    Overloaded,
    PayloadTooLarge,
    TargetTooLong,
    VersionNotSupported,
)
from gandalf.http.field_names import known, lowered
from gandalf.providers.base import Headers

MAX_TARGET_BYTES = 8192
MAX_FIELDS = 100
# Requests parsed ahead of the one being answered. Whoever sends more at once gets
# these answered and the connection closed, and may ask the rest on another.
MAX_PIPELINED = 16
# What a chunk may cost beside its data: "ffffffff\r\n" before, "\r\n" after, and some.
CHUNK_OVERHEAD = 16

# Header sections of one client that are remembered, each for the next. One that never
# sends the same again is given up.
MAX_LESSONS = 8
# One that is larger is not: an idle connection would hold it several times over.
MAX_FAMILIAR_BYTES = 8192
# Of a length: more than any body that is taken in has.
MAX_DIGITS = 15
# In a header section that was found good it is there once, and nowhere else.
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)\r\n", re.IGNORECASE)

# Of a whole such field. Zeros before the number are no fault, but Python converts only
# so many.
MAX_LENGTH_BYTES = 100

Data = bytes | bytearray | memoryview

METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
ALLOWED_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
# Fields that two readers could take two of in two ways: who calls, and what is sent.
SINGLE_FIELDS = frozenset(
    {
        b"api-key",
        b"authorization",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"transfer-encoding",
        b"x-api-key",
        b"x-goog-api-key",
    }
)


class BodyBudget:
    """Counts the bytes of all request bodies in memory against one limit."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def check(self, size: int) -> None:
        """Refuse a body of ``size`` bytes that could not be held beside the others."""
        if self.used + size > self.limit:
            raise Overloaded("too many request bodies in memory; retry later")

    def take(self, size: int) -> None:
        """Count ``size`` bytes in, or refuse them."""
        self.check(size)
        self.used += size

    def give_back(self, size: int) -> None:
        """Count ``size`` bytes out."""
        self.used -= size


class Phase(enum.Enum):
    """How far the request that is arriving has come."""

    IDLE = "idle"
    """Nothing of it is there yet."""
    HEADERS = "headers"
    BODY = "body"


# As plain names: to look up a member of an enum costs more than a field is worth.
IDLE, HEADERS, BODY = Phase


class Incoming:
    """A request body that is taken piece by piece while it arrives."""

    __slots__ = ("complete", "fault", "length", "pieces", "size")

    def __init__(self, length: int | None) -> None:
        self.length = length
        """Bytes in all, if the client said so."""
        self.size = 0
        """Bytes that have arrived so far."""
        self.pieces: list[bytes] = []
        """Those that nobody has taken yet."""
        self.complete = False
        self.fault: GatewayError | None = None
        """Why the rest of it will not come."""


class Request:
    """One request that has arrived whole, or all of it but an ``incoming`` body."""

    __slots__ = (
        "body",
        "headers",
        "incoming",
        "keep_alive",
        "method",
        "path",
        "query",
        "received_at",
        "version",
    )

    def __init__(
        self, method: bytes, version: str, headers: Headers, keep_alive: bool
    ) -> None:
        self.method = method
        self.version = version
        """``1.0`` or ``1.1``."""
        self.headers = headers
        self.keep_alive = keep_alive
        self.path = b""
        """Without the query, as sent: nothing is decoded."""
        self.query = b""
        self.body = b""
        self.incoming: Incoming | None = None
        self.received_at = 0.0
        """``clock()`` when its last byte had arrived, of an ``incoming`` body none."""


class _Head:
    """A header section that was read, but for the length of the body."""

    __slots__ = ("after", "before", "request")

    def __init__(self, before: bytes, after: bytes, request: Request) -> None:
        self.before = before
        """All that stands before the number in ``content-length``."""
        self.after = after
        """All that stands after it."""
        # Of its own: neither the body is to be held, nor anybody's changes.
        headers = request.headers.copy()
        self.request = Request(request.method, request.version, headers, True)
        """What was read, without a body."""
        self.request.path, self.request.query = request.path, request.query


# In the place of llhttp between two requests, and when none is to follow. Most of its
# thousand bytes are methods of ours, and it is made in less time than one request takes
# to be looked through.
_NOT_READING = httptools.HttpRequestParser(object())


class RequestParser:
    """Reads the requests of one connection, in order, into ``requests``.

    Args:
        max_header_bytes: Size of a header section above which it is refused.
        max_body_bytes: Size of a body above which it is refused.
        budget: What the bodies of all connections share. Whoever takes a request from
            ``requests`` gives its body's length back when done with it.
        clock: Tells the time that requests are stamped with.
        uploads: Method and path of requests that are handed out when their header
            section is complete, with a body that is ``incoming``.
        max_upload_bytes: Size of such a body above which it is refused.
    """

    __slots__ = (
        "_budget",
        "_chunked",
        "_chunks",
        "_clock",
        "_fed",
        "_head",
        "_headers",
        "_incoming",
        "_last",
        "_lessons",
        "_llhttp",
        "_max_body_bytes",
        "_max_header_bytes",
        "_max_upload_bytes",
        "_parts",
        "_raw_size",
        "_refusal",
        "_repeats",
        "_request",
        "_resuming",
        "_size",
        "_target",
        "_uploads",
        "expecting",
        "phase",
        "phase_since",
        "requests",
    )

    def __init__(
        self,
        max_header_bytes: int,
        max_body_bytes: int,
        budget: BodyBudget,
        clock: Callable[[], float] = trio.current_time,
        *,
        uploads: Container[tuple[bytes, bytes]] = frozenset(),
        max_upload_bytes: int = 0,
    ) -> None:
        # Not a deque: an empty one takes 600 bytes, and there is one per connection.
        self.requests: list[Request] = []
        self.phase = IDLE
        self.phase_since = clock()
        """When the phase began; a reader that has not read for a while may move it."""
        self.expecting = False
        """Whether the client waits for ``100 Continue`` before it sends the body."""
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes
        self._budget = budget
        self._clock = clock
        self._uploads = uploads
        self._max_upload_bytes = max_upload_bytes
        self._incoming: Incoming | None = None
        self._llhttp = _NOT_READING
        self._request: Request | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._chunked = False
        self._chunks = 0
        self._fed = 0
        self._refusal: GatewayError | None = None
        self._last = False
        self._resuming = False
        self._head: _Head | None = None
        self._lessons = -1
        self._begin()

    def feed(self, data: Data) -> None:
        """Take what has arrived. Not to be called again once it has raised.

        Raises:
            GatewayError: The bytes are no request that can be answered. Requests that
                were complete before them are in ``requests`` all the same.
        """
        if self._last:
            return
        between = self.phase is IDLE and not self.requests
        if between and self._head is not None and self._repeats_head(self._head, data):
            return
        self._fed = len(data)
        if self._llhttp is _NOT_READING:
            self._llhttp = httptools.HttpRequestParser(self)
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._ignore_upgrade()
            self.feed(data[stop.args[0] :])
            return
        except httptools.HttpParserError as error:
            if self._last:
                return
            if self._refusal is not None:
                raise self._refusal from None
            if isinstance(error, httptools.HttpParserCallbackError):
                raise
            raise _malformed(error) from None
        if self.phase is not IDLE:
            self._check_raw_size(len(data))
            if self.phase_since == math.inf:
                self.phase_since = self._clock()
            return
        self._llhttp = _NOT_READING
        if between and self._lessons <= MAX_LESSONS and len(self.requests) == 1:
            self._learn_head(self.requests[0], data)
        # Whoever answers the request decides how long its header fields are held.
        self._begin()

    @property
    def arriving(self) -> tuple[bytes, Headers]:
        """Target and header fields of the request that is arriving, as far as known."""
        return self._target, self._headers

    def close(self, fault: GatewayError | None = None) -> None:
        """Forget the request that is arriving, and whatever follows. Idempotent.

        Args:
            fault: What is wrong with it, for who has taken the beginning of its body.
        """
        self._budget.give_back(self._size)
        self._begin()
        self._parts = []
        self._size = 0
        self.phase = IDLE
        self.expecting = False
        if self._incoming is not None:
            self._incoming.fault = fault
            self._incoming = None
        self._last = True
        # llhttp holds our methods: without this both would wait for the collector.
        self._llhttp = _NOT_READING

    # What llhttp calls.

    def on_message_begin(self) -> None:
        if self._resuming:
            return
        if len(self.requests) >= MAX_PIPELINED:
            self.requests[-1].keep_alive = False
            self._last = True
            raise BadRequest("too many pipelined requests")
        self._begin()
        self.phase = HEADERS
        self.phase_since = math.inf

    def on_url(self, part: bytes) -> None:
        if self._resuming:
            return
        self._target += part
        if len(self._target) > MAX_TARGET_BYTES:
            self._refuse(TargetTooLong("the request target is too long"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase is not HEADERS:
            return  # A trailer, which nobody reads; or our own, when resuming.
        headers = self._headers
        lower = known.get(name) or lowered(name)
        if lower in headers:
            self._repeat(lower, value)
        else:
            headers[lower] = value

    def on_headers_complete(self) -> None:
        if self._resuming:
            return
        llhttp, target = self._llhttp, self._target
        request = self._request = Request(
            llhttp.get_method(),
            llhttp.get_http_version(),
            self._headers,
            llhttp.should_keep_alive(),
        )
        try:
            _check_head(request)
            self._check_size()
            if target[:1] != b"/":
                target = _other_form(request.method, target)
            if b"#" in target:
                raise BadRequest("the request target has a fragment")
            request.path, _, request.query = target.partition(b"?")
            upload = (request.method, request.path) in self._uploads
            self._check_body(request, upload=upload)
        except GatewayError as error:
            self._refuse(error)
        self.phase = BODY
        self.phase_since = math.inf
        self._raw_size = 0
        if upload:
            self._hand_out(request)

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_body(self, data: bytes) -> None:
        size = len(data)
        if self._incoming is not None:
            self._take(self._incoming, data)
            return
        total = self._size + size
        if total > self._max_body_bytes:
            self._refuse(_body_too_large(self._max_body_bytes))
        try:
            self._budget.take(size)
        except Overloaded as error:
            self._refuse(error)
        self._size = total
        self._parts.append(data)
        self.expecting = False

    def on_message_complete(self) -> None:
        if self._llhttp.should_upgrade() and not self._resuming:
            return  # Its body is still to come: see _ignore_upgrade.
        request = self._request
        if request is None:
            raise RuntimeError("a message has ended that had not begun")
        if parts := self._parts:
            request.body = b"".join(parts)
            parts.clear()
            self._size = 0
        self._request = None
        self.expecting = False
        self.phase = IDLE
        self._last = not request.keep_alive
        if self._incoming is not None:
            self._incoming.complete = True
            self._incoming = None
            return
        request.received_at = self._clock()
        self.requests.append(request)

    # Bodies that are taken while they arrive.

    def _hand_out(self, request: Request) -> None:
        length = request.headers.get(b"content-length")
        whole = None if self._chunked else int(length or b"0")
        self._incoming = request.incoming = Incoming(whole)
        request.received_at = self._clock()
        self.requests.append(request)

    def _take(self, incoming: Incoming, data: bytes) -> None:
        incoming.size += len(data)
        if incoming.size > self._max_upload_bytes:
            self._refuse(_body_too_large(self._max_upload_bytes))
        incoming.pieces.append(data)
        self.expecting = False

    # Requests that repeat the header section of an earlier one.

    def _learn_head(self, request: Request, data: Data) -> None:
        """Remember the header section of ``request``, the only one in ``data``.

        Not that of the first: most connections of slow streams have no second one.
        """
        self._lessons += 1
        self._head = None
        size = len(data) - len(request.body)
        if (
            not 0 < self._lessons <= MAX_LESSONS
            or not request.keep_alive
            or request.incoming is not None
            or b"expect" in request.headers
            or b"transfer-encoding" in request.headers
            or size + MAX_DIGITS > min(self._max_header_bytes, MAX_FAMILIAR_BYTES)
        ):
            return
        head = bytes(data[:size])
        if head.find(b"\r\n\r\n") + 4 != size:
            return  # Some clients send a line break behind the body.
        length = _LENGTH.search(head)
        if length is not None and int(length[1]) == len(request.body):
            before, after = head[: length.start(1)], head[length.end(1) :]
            self._head = _Head(before, after, request)

    def _repeats_head(self, head: _Head, data: Data) -> bool:
        """Take the request in ``data`` if it is whole and repeats all but its body.

        Of the same bytes llhttp would tell the same, for it knows nothing of what came
        before.
        """
        before, after = head.before, head.after
        start = len(before)
        if bytes(data[:start]) != before:
            return False
        rest = bytes(data[start:])
        end = rest.find(after, 0, MAX_DIGITS + len(after))
        digits, body = rest[:end], rest[end + len(after) :]
        size = len(body)
        budget = self._budget
        if (
            end < 0
            or not digits.isdigit()
            or int(digits) != size
            or size > self._max_body_bytes
            or budget.used + size > budget.limit
        ):
            return False
        budget.used += size
        self._lessons = 0
        known = head.request
        headers = known.headers.copy()
        headers[b"content-length"] = digits
        request = Request(known.method, known.version, headers, True)
        request.path, request.query = known.path, known.query
        request.body = body
        request.received_at = self._clock()
        self.requests.append(request)
        return True

    # The rest.

    def _begin(self) -> None:
        self._headers: Headers = {}
        self._target = b""
        self._repeats = 0
        self._raw_size = 0

    def _refuse(self, error: GatewayError) -> NoReturn:
        # llhttp would hide it: what a callback raises comes out as its own error.
        self._refusal = error
        raise error

    def _repeat(self, name: bytes, value: bytes) -> None:
        if name in SINGLE_FIELDS:
            self._refuse(BadRequest(f"repeated header field: {name.decode()}"))
        self._repeats += 1
        if self._repeats > MAX_FIELDS:
            self._refuse(HeadersTooLarge("too many header fields"))
        separator = b"; " if name == b"cookie" else b", "
        self._headers[name] += separator + value

    def _check_size(self) -> None:
        headers, limit = self._headers, self._max_header_bytes
        # Adding up is needed only if they did not all arrive at once, and few bytes.
        if self.phase_since != math.inf or self._fed > limit:
            size = sum(map(len, headers)) + sum(map(len, headers.values()))
            if len(self._target) + size + 4 * len(headers) > limit:
                raise _headers_too_large(limit)
        if len(headers) > MAX_FIELDS:
            raise HeadersTooLarge("too many header fields")

    def _check_body(self, request: Request, *, upload: bool) -> None:
        headers = request.headers
        encoding = headers.get(b"transfer-encoding")
        self._chunked = encoding is not None
        if encoding is not None and (
            encoding.lower() != b"chunked" or request.version != "1.1"
        ):
            raise BadRequest("transfer-encoding must be chunked, in HTTP/1.1")
        self._chunks = 0
        length = headers.get(b"content-length", b"0")
        if len(length) > MAX_LENGTH_BYTES:
            raise BadRequest("the header field content-length is too long")
        size = int(length)
        limit = self._max_upload_bytes if upload else self._max_body_bytes
        if size > limit:
            raise _body_too_large(limit)
        if not upload:
            self._budget.check(size)
        expectation = headers.get(b"expect")
        if expectation is not None:
            if expectation.lower() != b"100-continue":
                raise ExpectationFailed("only 100-continue can be expected")
            self.expecting = request.version == "1.1" and (size > 0 or self._chunked)

    def _check_raw_size(self, size: int) -> None:
        """Bound what is neither a whole header field nor a part of the body.

        llhttp keeps a field that has not ended, and reads over chunk extensions and
        trailers. Of the bytes that came together with the beginning nobody knows which
        they were; they are at most one receive, and not counted.
        """
        if self.phase_since == math.inf:
            return
        self._raw_size += size
        if self.phase is HEADERS:
            if self._raw_size > self._max_header_bytes:
                raise _headers_too_large(self._max_header_bytes)
        elif self._chunked:
            incoming = self._incoming
            data = self._size if incoming is None else incoming.size
            overhead = self._raw_size - data - CHUNK_OVERHEAD * self._chunks
            if overhead > self._max_header_bytes:
                raise BadRequest("too much beside the body's data")

    def _ignore_upgrade(self) -> None:
        """Go on with the request as if it had not asked to switch protocols.

        RFC 9110, 7.8 lets a server ignore that, and Java's client asks it of every
        first request, body included; but llhttp reads no further. A fresh parser reads
        on, and is told no more of the request than how its body is framed.
        """
        framing = b"".join(
            b"%b: %b\r\n" % (name, self._headers[name])
            for name in (b"content-length", b"transfer-encoding")
            if name in self._headers
        )
        self._llhttp = httptools.HttpRequestParser(self)
        self._resuming = True
        self._llhttp.feed_data(b"POST / HTTP/1.1\r\nhost: -\r\n" + framing + b"\r\n")
        self._resuming = False


def _check_head(request: Request) -> None:
    headers = request.headers
    if request.version not in ("1.1", "1.0"):
        raise VersionNotSupported("this server speaks HTTP/1.1")
    if request.method not in METHODS:
        raise MethodNotAllowed(ALLOWED_METHODS)
    # Some servers behind us would read content_length as content-length.
    if b"_" in b"".join(headers):
        raise BadRequest("header field names with an underscore are not accepted")
    if b"host" not in headers and request.version == "1.1":
        raise BadRequest("the header field host is missing")


def _other_form(method: bytes, target: bytes) -> bytes:
    """Return the origin form of ``target``. Its authority decides nothing here."""
    if target == b"*" and method == b"OPTIONS":
        return target
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        raise BadRequest("the request target is neither a path nor an http URL")
    cut = min(
        (at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=None
    )
    path = rest[cut:] if cut is not None else b""
    return path if path[:1] == b"/" else b"/" + path


def _malformed(error: httptools.HttpParserError) -> BadRequest:
    reason = str(error)
    if reason in ("Invalid HTTP version", "Pause on PRI/Upgrade"):
        return VersionNotSupported("this server speaks HTTP/1.1")
    return BadRequest(f"malformed request: {reason}")


def _body_too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the request body is larger than {limit} bytes")


def _headers_too_large(limit: int) -> HeadersTooLarge:
    return HeadersTooLarge(f"the header section is larger than {limit} bytes")
