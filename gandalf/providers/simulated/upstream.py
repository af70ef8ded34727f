"""An upstream inside the process: for demos, for tests, and to load the gateway alone.

It is the provider and the connections to it in one, without a socket between. Its
answers are those of an OpenAI-compatible service; its failures are drawn from a
generator seeded with the provider's name, three draws a request, so that the same
requests in the same order always meet the same fate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from random import Random

import trio

from gandalf import config
from gandalf.config import Timeouts
from gandalf.dialects import openai
from gandalf.dialects.base import UpstreamDialect
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model
from gandalf.providers.base import Ask, Headers, StreamFraming, UpstreamRequest
from gandalf.providers.body import RefusedFields
from gandalf.providers.simulated import answers, requests
from gandalf.providers.watch import UpstreamBroken, Watch

_TARGETS = {"chat": b"/v1/chat/completions", "embeddings": b"/v1/embeddings"}
_JSON = b"application/json"
_FIELDS = b"content-type: %b\r\n" % _JSON
_EVENTS = b"text/event-stream; charset=utf-8"

# OpenAI's words for the statuses a simulation is likely to be set to.
_FAILURES = {
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
    503: ("The engine is currently overloaded.", "server_error", None),
}
_FAILURE = ("The server had an error while processing your request.", "server_error")


class SimulatedResponse:
    """An answer that is generated while it is read."""

    def __init__(
        self,
        owner: Simulated,
        status: int,
        headers: Headers,
        pieces: Iterable[tuple[float, bytes]],
        *,
        breaks: bool = False,
    ) -> None:
        self.watch = Watch()
        """Whose time ``receive`` keeps; set by whoever makes the response."""
        self.status = status
        self.headers = headers
        self.complete = False
        """Whether all of it is known to have been received."""
        self._owner = owner
        self._pieces: Iterator[tuple[float, bytes]] = iter(pieces)
        self._breaks = breaks
        self._closed = False
        owner.in_flight += 1

    async def receive(self) -> bytes:
        """Return the next piece when its time has come; b"" at the end."""
        wait, data = next(self._pieces, (0.0, b""))
        with self.watch.guard():
            await trio.sleep(wait)
        if self._closed:
            raise UpstreamBroken("the response was closed", sent=True)
        if not data and self._breaks:
            raise UpstreamBroken("connection closed in mid-response", sent=True)
        self.complete = not data
        return data

    def rest(self) -> bytes | None:
        """Return None: each piece has its time."""
        return None

    def close(self) -> None:
        """Stop generating."""
        if not self._closed:
            self._closed = True
            self._pieces = iter(())
            self._owner.in_flight -= 1


class Simulated:
    """A provider of simulated models, and its own upstream."""

    dialect: UpstreamDialect = openai
    stream_content_type = openai.STREAM_CONTENT_TYPE
    stream_framing: Callable[[], StreamFraming] | None = None
    relays_errors = True
    refused_fields: RefusedFields | None = None

    def __init__(self, settings: config.Provider) -> None:
        self.name = settings.name
        self.timeouts = settings.timeouts
        self.on_client_disconnect = settings.on_client_disconnect
        self.in_flight = 0
        """Responses that are not closed yet."""
        self._simulation = settings.simulation
        self._random = Random(settings.name)  # noqa: S311 - decides nothing secret
        self._closed = False

    def model(self, name: str) -> Model:
        """Return what is known of the model ``name``: nothing but that."""
        return Model(name=name)

    async def request(self, ask: Ask) -> UpstreamRequest:
        """Return the request for ``ask``; no credentials are needed."""
        target = _TARGETS.get(ask.operation)
        if target is None:
            raise BadRequest(
                f"{self.name} has no {ask.operation}", code="unsupported_operation"
            )
        return UpstreamRequest(b"POST", target, _FIELDS, ask.body)

    async def send(
        self, request: UpstreamRequest, timeouts: Timeouts, watch: Watch
    ) -> SimulatedResponse:
        """Answer ``request`` after the configured latency.

        Raises:
            UpstreamBroken: The simulated upstream was closed.
        """
        if self._closed:
            raise UpstreamBroken("the simulated upstream is closed", sent=False)
        draw = self._random
        number, fails, breaks = draw.getrandbits(128), draw.random(), draw.random()
        watch.phase("connect", timeouts.connect)
        watch.phase("response_headers", timeouts.response_headers)
        with watch.guard():
            await trio.sleep(self._simulation.latency)
        response = await self._answer(request, number, fails, breaks)
        response.watch = watch
        return response

    def close(self) -> None:
        """Refuse further requests."""
        self._closed = True

    async def _answer(
        self, request: UpstreamRequest, number: int, fails: float, breaks: float
    ) -> SimulatedResponse:
        if fails < self._simulation.error_rate:
            return self._failure(number)
        cut = breaks < self._simulation.cut_rate
        try:
            if request.target == _TARGETS["chat"]:
                return await self._chat(request.body, number, cut)
            if request.target == _TARGETS["embeddings"]:
                return await self._embeddings(request.body, number, cut)
        except requests.Invalid as refusal:
            return self._whole(400, refusal.body, number)
        line = f"{request.method.decode()} {request.target.decode()}"
        body = requests.error_body(f"Invalid URL ({line})", "invalid_request_error")
        return self._whole(404, body, number)

    async def _chat(self, body: bytes, number: int, cut: bool) -> SimulatedResponse:
        asked = requests.read_chat(body)
        chat = answers.Chat(
            asked,
            length=max(1, self._simulation.completion_tokens),
            number=number,
            created=int(time.time()),
        )
        speed = self._simulation.tokens_per_second
        gap = 1 / speed if speed > 0 else 0.0
        if not asked.stream:
            await trio.sleep(chat.completion_tokens * gap)
            return self._whole(200, chat.whole(), number, cut=cut)
        headers = {b"content-type": _EVENTS, b"x-request-id": b"req_%032x" % number}
        pieces: Iterable[tuple[float, bytes]]
        if gap == 0.0:
            pieces = [(0.0, _cut(b"".join(data for _, data in chat.stream()), cut))]
        else:
            pieces = ((tokens * gap, data) for tokens, data in chat.stream())
        if cut and gap > 0.0:
            pieces = islice(pieces, sum(1 for _ in chat.stream()) // 2)
        return SimulatedResponse(self, 200, headers, pieces, breaks=cut)

    async def _embeddings(
        self, body: bytes, number: int, cut: bool
    ) -> SimulatedResponse:
        asked = requests.read_embeddings(body)
        data = []
        for index, given in enumerate(asked.inputs):
            data.append(answers.embedding(index, given, asked))
            # A vector takes a quarter of a millisecond and there may be thousands.
            await trio.lowlevel.checkpoint()
        answer = answers.embeddings_body(asked, data)
        return self._whole(200, answer, number, cut=cut)

    def _failure(self, number: int) -> SimulatedResponse:
        status = self._simulation.error_status
        message, kind, *code = _FAILURES.get(status, _FAILURE)
        body = requests.error_body(
            message or "", kind or "", code=code[0] if code else None
        )
        response = self._whole(status, body, number)
        if status == 429:
            response.headers[b"retry-after"] = b"1"
        return response

    def _whole(
        self, status: int, body: bytes, number: int, *, cut: bool = False
    ) -> SimulatedResponse:
        headers = {
            b"content-type": _JSON,
            b"content-length": b"%d" % len(body),
            b"x-request-id": b"req_%032x" % number,
        }
        pieces = [(0.0, _cut(body, cut))]
        return SimulatedResponse(self, status, headers, pieces, breaks=cut)


def _cut(data: bytes, cut: bool) -> bytes:
    return data[: len(data) // 2] if cut else data
