"""One request through an ASGI application: every page that is not hot."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

import trio

from gandalf.http.channel import Channel, HeaderList, field_lines
from gandalf.http.parser import Request

log = logging.getLogger("gandalf.http")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
Address = tuple[str, int] | None

# Framing is the channel's business, and so is the date.
_OURS = frozenset({b"connection", b"date", b"keep-alive", b"transfer-encoding"})


def scope_of(
    request: Request,
    *,
    scheme: str,
    client: Address,
    server: Address,
    state: dict[str, Any],
) -> dict[str, Any]:
    """Return the ASGI connection scope of ``request``."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.version,
        "method": request.method.decode(),
        "scheme": scheme,
        "path": unquote_to_bytes(request.path).decode(errors="replace"),
        "raw_path": request.path,
        "query_string": request.query,
        "root_path": "",
        "headers": list(request.headers.items()),
        "client": client,
        "server": server,
        "state": state.copy(),
        "extensions": {},
    }


class Cycle:
    """The two ends of one request that an ASGI application holds.

    The application runs in a scope that is cancelled when the client leaves, so
    ``receive`` need not notice it: it tells of the end when the answer is complete.
    """

    def __init__(self, request: Request, channel: Channel) -> None:
        self._request = request
        self._channel = channel
        self._body_taken = False
        self._head: tuple[int, bytes] | None = None
        self._complete = trio.Event()

    @property
    def complete(self) -> bool:
        """Whether the application has given its whole answer."""
        return self._complete.is_set()

    async def receive(self) -> Message:
        if not self._body_taken:
            self._body_taken = True
            body = self._request.body
            return {"type": "http.request", "body": body, "more_body": False}
        await self._complete.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start" and self._head is None:
            self._head = message["status"], self._fields(message.get("headers", ()))
        elif kind == "http.response.body" and self._head is not None:
            await self._body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    def _fields(self, headers: HeaderList) -> bytes:
        # To HEAD the length of the body that is not sent may be told.
        keep_length = self._request.method == b"HEAD"
        fields = [(bytes(name).lower(), bytes(value)) for name, value in headers]
        return field_lines(
            [
                (name, value)
                for name, value in fields
                if name not in _OURS and (keep_length or name != b"content-length")
            ]
        )

    async def _body(self, data: bytes, more: bool) -> None:
        if self._complete.is_set() or self._head is None:
            return
        status, fields = self._head
        channel = self._channel
        if not more:
            self._complete.set()
        if not more and not channel.started:
            await channel.whole(status, fields, bytes(data))
            return
        if not channel.started:
            await channel.start(status, fields)
        if more:
            await channel.send(bytes(data))
        else:
            await channel.end(bytes(data))
