"""Plays an HTTP response, valid or not, on the upstream's end of a connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import trio
import trio.testing

from tests.fakes.servers import Peer

Step = bytes | float
"""What to send; or seconds to wait before the next step."""

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What an upstream does with one request."""

    status: int = 200
    fields: Fields = ()
    """Header fields beside those of the content type and of the framing."""
    content_type: str | None = "application/json"
    body: tuple[Step, ...] = ()
    framing: Literal["length", "chunked", "close", "none"] = "length"
    trailer: bytes = b""
    version: str = "1.1"
    before: tuple[Step, ...] = ()
    """What comes before the status line."""
    raw: bool = False
    """The body is all that is sent: no header section, no framing."""
    read: bool = True
    """Whether the request is read at all."""
    endless: tuple[Step, ...] = ()
    """What follows the body again and again until the gateway leaves."""
    cut: bool = False
    """Whether the framing's own end is left out."""
    end: Literal["keep", "close", "reset", "stall"] = "keep"
    """What becomes of the connection."""
    where: Literal["server", "refusing", "full"] = "server"
    """Where the provider is: ``refusing`` has no listener, ``full`` accepts nobody."""
    plain: bytes | None = None
    """The body without its content coding, if that is not what is sent."""

    def but(self, **changes: Any) -> Reply:
        return replace(self, **changes)

    @property
    def said(self) -> bytes | None:
        """The body that the upstream sends, decoded; None if it is not valid HTTP."""
        if self.plain is not None or self.raw:
            return self.plain
        # In no test does the gateway read on for longer.
        steps = self.body + self.endless * 30
        return b"".join(step for step in steps if isinstance(step, bytes))

    async def play(self, peer: Peer) -> None:
        """Read the request and answer it."""
        if self.read:
            await peer.read_request()
        await _play(peer, self.before)
        if not self.raw:
            await peer.send(self.head())
        await _play(peer, map(self._framed, self.body))
        while self.endless:
            await _play(peer, map(self._framed, self.endless))
        if self.framing == "chunked" and not (self.raw or self.cut):
            await peer.send(b"0\r\n%b\r\n" % self.trailer)
        if self.end == "reset":
            # What was sent is to be read before the connection fails.
            await trio.sleep(0.001)
            peer.reset()
        elif self.end == "stall" or (self.end == "keep" and self.framing != "close"):
            await peer.wait_left()

    def head(self) -> bytes:
        """Return the status line and the header section."""
        lines = [f"HTTP/{self.version} {self.status} Scripted"]
        if self.content_type is not None:
            lines.append(f"content-type: {self.content_type}")
        lines += [f"{name}: {value}" for name, value in self.fields]
        if self.framing == "length":
            size = sum(len(step) for step in self.body if isinstance(step, bytes))
            lines.append(f"content-length: {size}")
        elif self.framing == "chunked":
            lines.append("transfer-encoding: chunked")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def _framed(self, step: Step) -> Step:
        if isinstance(step, bytes) and self.framing == "chunked" and not self.raw:
            return b"%x\r\n%b\r\n" % (len(step), step)
        return step


async def _play(peer: Peer, steps: Iterable[Step]) -> None:
    for step in steps:
        if isinstance(step, bytes):
            if step:
                await peer.send(step)
                # Otherwise it would be chance whether the next step comes with it.
                await trio.testing.wait_all_tasks_blocked()
        else:
            await trio.sleep(step)


def respond(body: Any, status: int = 200, **how: Any) -> Reply:
    """Return a response of known length; what is not bytes is sent as JSON."""
    raw = (
        body
        if isinstance(body, bytes)
        else json.dumps(body, ensure_ascii=False).encode()
    )
    return Reply(status=status, body=(raw,), **how)


def stream(steps: Sequence[Step], content_type: str | None, **how: Any) -> Reply:
    """Return a response in chunks."""
    how.setdefault("framing", "chunked")
    return Reply(body=tuple(steps), content_type=content_type, **how)


Make = Callable[..., Reply | None]
