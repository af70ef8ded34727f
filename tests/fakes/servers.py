"""Upstreams at the level of bytes: a test says what is read and what is sent, when.

    async def twice(peer):
        await peer.read_request()
        await peer.send(OK)

    async with serving(twice) as server:
        ...  # server.url, server.peers

The script of a connection runs once; when it returns, the connection is closed. What
a client does to the connection (it leaves, it resets) ends the script quietly.
"""

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Peer:
    """The server's end of one connection."""

    def __init__(self, stream: trio.abc.Stream, sock: trio.socket.SocketType) -> None:
        self.stream = stream
        self.sock = sock
        self.left = trio.Event()
        """Set when the script saw the client's end of the connection."""
        self._data = bytearray()

    async def read_request(self) -> bytes:
        """Return one whole request; end the script if the client leaves before."""
        while b"\r\n\r\n" not in self._data:
            await self._more()
        end = self._data.index(b"\r\n\r\n")
        length = 0
        for line in self._data[:end].lower().split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
        size = end + 4 + length
        while len(self._data) < size:
            await self._more()
        request = bytes(self._data[:size])
        del self._data[:size]
        return request

    async def read_head(self) -> None:
        """Read up to the end of the header section, and what came with it."""
        while b"\r\n\r\n" not in self._data:
            await self._more()

    async def wait_left(self) -> None:
        """Wait until the client closes the connection."""
        try:
            while await self.stream.receive_some(65536):
                pass
        except trio.BrokenResourceError:
            pass
        self.left.set()

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def send_bytewise(self, data: bytes) -> None:
        """Send one byte at a time, each on its own through the loop."""
        for at in range(len(data)):
            await self.stream.send_all(data[at : at + 1])
            await trio.lowlevel.checkpoint()

    def reset(self) -> None:
        """End the connection with a RST."""
        linger = struct.pack("ii", 1, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.sock.close()

    async def _more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            self.left.set()
            raise trio.BrokenResourceError("the client left")
        self._data += data


Script = Callable[[Peer], Awaitable[None]]


@dataclass(eq=False)
class Server:
    """A listening upstream."""

    url: str
    port: int
    peers: list[Peer] = field(default_factory=list)
    """The connections so far, in the order they were accepted."""


@asynccontextmanager
async def serving(
    script: Script,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    name: str = "",
) -> AsyncIterator[Server]:
    """Serve ``script`` on every connection.

    Args:
        name: The host name in ``server.url``, if it is not to be the address.
    """
    [listener] = await trio.open_tcp_listeners(port, host=host, backlog=4096)
    port = listener.socket.getsockname()[1]
    shown = name or (f"[{host}]" if ":" in host else host)
    server = Server(f"http{'s' if tls else ''}://{shown}:{port}", port)

    async def connected(raw: trio.SocketStream) -> None:
        stream: trio.abc.Stream = raw
        if tls is not None:
            stream = trio.SSLStream(raw, tls, server_side=True)
        peer = Peer(stream, raw.socket)
        server.peers.append(peer)
        try:
            await script(peer)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            peer.left.set()
        finally:
            raw.socket.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, connected, [listener])
        yield server
        nursery.cancel_scope.cancel()


async def echo_lengths(peer: Peer) -> None:
    """Answer every request, on one connection, with the size of its body."""
    while True:
        request = await peer.read_request()
        body = b"%d" % len(request.partition(b"\r\n\r\n")[2])
        await peer.send(
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )


def answering(*answers: bytes) -> Script:
    """Answer the requests of each connection with ``answers``, then close it."""

    async def script(peer: Peer) -> None:
        for answer in answers:
            await peer.read_request()
            await peer.send(answer)

    return script
