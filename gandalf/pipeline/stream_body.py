"""A streamed answer on its way from an upstream to the client."""

from __future__ import annotations

import contextlib

import trio

from gandalf.dialects.base import Follower
from gandalf.dialects.sse import EventTooLarge
from gandalf.dialects.unread import NOT_JSON
from gandalf.domain.errors import GatewayError, UpstreamError, UpstreamTimeout
from gandalf.pipeline.exchange import Exchange
from gandalf.pipeline.failure_policy import in_band_error
from gandalf.pipeline.meter import StreamMeter
from gandalf.providers.base import Provider, StreamFraming, UpstreamResponse
from gandalf.providers.watch import UpstreamBroken, Watch

# Seconds that a finished answer's usage or end marker may take. Some upstreams send
# neither, and keep the connection open.
GRACE_AFTER_FINISH = 5.0
# Seconds to wait, after the end marker, for the end of the response: it makes the
# connection usable for the next request, and has nearly always come already.
GRACE_FOR_END = 0.05


class StreamBody:
    """What the client gets of one upstream's stream, as it comes.

    Complete only if the upstream says so, by its end marker or by a good end of every
    choice, and if all of it was JSON; any other end is an error. The rule is told in
    ``gandalf.dialects.unread``.

    Args:
        first: Bytes of the body that were received already.
    """

    __slots__ = (
        "_choices",
        "_ended",
        "_exchange",
        "_failure",
        "_finished_at",
        "_first",
        "_framing",
        "_held",
        "_idle",
        "_meter",
        "_provider",
        "_response",
        "_stream",
        "_watch",
        "ending",
    )

    def __init__(
        self,
        exchange: Exchange,
        provider: Provider,
        response: UpstreamResponse,
        follower: Follower,
        watch: Watch,
        first: bytes = b"",
    ) -> None:
        call = exchange.call
        assert call is not None  # noqa: S101 - read_call comes before dispatch
        self._exchange = exchange
        self._provider = provider
        self._response = response
        self._watch = watch
        self._idle = provider.timeouts.idle
        self._choices = call.n
        self._stream = follower
        self._first = first
        self._meter = exchange.meter
        make = provider.stream_framing
        self._framing = make() if make is not None else None
        self._held: list[bytes] = []
        self._ended = False
        self._finished_at: float | None = None
        """When the last part of the finished answer came."""
        self._failure: GatewayError | None = None
        self.ending = b""
        """As ``Body.ending``, once ``receive`` has returned b""."""

    async def wait_content(self) -> None:
        """Read until the answer's first content; hold what comes before it.

        Raises:
            UpstreamError: There will be none.
        """
        stream = self._stream
        while not (stream.content_seen or self._ended):
            await self._read()
            if self._failure is not None:
                raise self._failure

    async def receive(self) -> bytes:
        """Return what the upstream has sent since; b"" once it is complete.

        What came together with the end of the response is not returned but becomes
        part of ``ending``: it need not leave before, and so leaves with it.

        Raises:
            UpstreamError: It broke off.
        """
        while not (self._held or self._ended):
            if self._failure is not None:
                raise self._failure
            # Read once, within the limit for the time between two pieces.
            before = trio.current_time()
            finished_at = self._finished_at
            if finished_at is None:
                self._watch.phase("idle", self._idle, before)
            else:
                # Signs of life do not prolong it.
                left = finished_at + GRACE_AFTER_FINISH - before
                if left <= 0:
                    self._complete_if_read()
                    continue
                self._watch.phase("idle", left, before)
            await self._read()
            # Until the next read it is the client who takes its time.
            self._watch.phase("client", None)
            self._exchange.upstream_time += trio.current_time() - before
        if self._ended and (self._response.complete or not self._held):
            await self._complete()
            return b""
        held = self._held
        data = held[0] if len(held) == 1 else b"".join(held)
        held.clear()
        if self._exchange.capture is not None:
            self._exchange.capture.add(data)
        return data

    def note(self, exchange: Exchange) -> None:
        """Write what the stream has told of itself into the exchange."""
        exchange.usage = self._stream.usage
        exchange.finish_reason = self._stream.finish_reason
        if self._stream.unread:
            exchange.unread = tuple(sorted(self._stream.unread.items()))

    async def _complete(self) -> None:
        """Wait for the end of the response, if need be, and set ``ending``."""
        if self._stream.done and not self._response.complete:
            before = trio.current_time()
            self._watch.phase("end", GRACE_FOR_END, before)
            # If it breaks now, all that matters has come; it is just not kept.
            with contextlib.suppress(UpstreamBroken):
                await self._response.receive()
            self._exchange.upstream_time += trio.current_time() - before
        ending = self._stream.ending
        capture = self._exchange.capture
        if capture is not None:
            for data in self._held:
                capture.add(data)
            capture.ending = ending
        self.ending = b"".join((*self._held, ending))
        self._held.clear()

    async def _read(self) -> None:
        """Read once from the upstream and sort out what came."""
        if self._first:
            data, self._first = self._first, b""
            self._take(data)
            return
        try:
            data = await self._response.receive()
        except UpstreamBroken as broken:
            if self._watch.expired:
                self._end_late()
            else:
                self._end(str(broken))
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        """Sort out what has come; b"": the end of the response."""
        stream, framing = self._stream, self._framing
        try:
            if framing is not None:
                visible = self._feed_framed(data, framing)
            else:
                visible = stream.feed(data) if data else stream.flush()
        except EventTooLarge as error:
            self._end(str(error) or "an event of the stream is too large")
            return
        if visible:
            self._held.append(visible)
            meter = self._meter
            if meter is not None:
                meter.size += len(visible)
                meter.last = visible
                if meter.size > meter.check_at:
                    self._check(meter)
        if stream.failed is not None:
            self._failure = in_band_error(self._provider, stream.failed)
        elif stream.done:
            self._complete_if_read()
        elif not data:
            self._end("the upstream ended the stream early")
        elif stream.finished(self._choices) and (
            self._finished_at is None or not _is_sign_of_life(visible)
        ):
            self._finished_at = trio.current_time()

    def _complete_if_read(self) -> None:
        if NOT_JSON in self._stream.unread:
            self._failure = UpstreamError(
                self._provider.name, "a part of the answer is not JSON"
            )
        else:
            self._ended = True

    def _check(self, meter: StreamMeter) -> None:
        try:
            meter.check()
        except GatewayError as refusal:
            # No budget has room for more: the client gets what came until now.
            self._failure = refusal

    def _feed_framed(self, data: bytes, framing: StreamFraming) -> bytes:
        stream = self._stream
        if data:
            return stream.feed(framing.feed(data))
        rest = framing.flush()
        return (stream.feed(rest) if rest else b"") + stream.flush()

    def _end_late(self) -> None:
        timeouts = self._provider.timeouts
        late = self._watch.name
        limit = timeouts.total if late == "total" else self._watch.limit
        self._end("took too long")
        if self._failure is not None:
            self._failure = UpstreamTimeout(self._provider.name, late, limit or 0.0)

    def _end(self, how: str) -> None:
        # A good end of every choice completes an answer; an end marker that never came
        # does not make it less complete.
        if self._stream.finished(self._choices):
            self._complete_if_read()
        else:
            self._failure = UpstreamError(self._provider.name, how)


def _is_sign_of_life(events: bytes) -> bool:
    """Return whether ``events`` are comments, pings or blank lines, and no more."""
    return all(
        line.startswith((b":", b"event: ping", b'data: {"type": "ping"'))
        or line.strip() in (b"", b'data: {"type":"ping"}', b"data: ping")
        for line in events.splitlines()
    )
