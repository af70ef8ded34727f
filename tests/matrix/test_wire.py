"""A sample of the matrix with the client on a real socket: it sees the same."""

from functools import partial

import h11
import pytest
import trio

from gandalf.config import Server
from gandalf.http import edge
from tests.wire.edge_server import pages, telling_page

from . import page
from .behaviours import load
from .gateway import Received, a_world
from .run import run

# One of each kind of ending, before and after the first content.
SAMPLE = (
    "silence",
    "status-400",
    "status-500",
    "whole-json-cut",
    "tiny-chunks",
    "opening-then-end",
    "first-content-late",
    "content-then-cut",
    "content-then-stall",
    "error-in-content",
    "event-not-json",
    "finish-then-end",
    "comments-endless-after-end",
)
ROWS = page.read()


async def over_a_socket(gateway, path, query, body):
    """Serve ``gateway`` at the edge and send it one request."""
    async with trio.open_nursery() as nursery:
        serve = partial(edge.serve, shutdown_trigger=trio.sleep_forever)
        settings = Server(addr="127.0.0.1:0")
        [url] = await nursery.start(serve, pages(telling_page), gateway, settings)
        port = int(url.rpartition(":")[2])
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            received = await exchange(stream, path, query, body)
        nursery.cancel_scope.cancel()
    return received


async def exchange(stream, path, query, body):
    """Send a request with h11, and read its response to the end."""
    http = h11.Connection(h11.CLIENT)
    fields = [("host", "gandalf"), ("content-length", str(len(body)))]
    target = path + (b"?" + query if query else b"")
    request = h11.Request(method="POST", target=target, headers=fields)
    for event in (request, h11.Data(data=body), h11.EndOfMessage()):
        await stream.send_all(http.send(event))
    received = Received(started=True)
    while not received.complete:
        try:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await stream.receive_some())
                continue
        except h11.RemoteProtocolError:
            break  # The connection was closed within the body.
        if isinstance(event, h11.Response):
            received.status = event.status_code
            received.streamed = b"transfer-encoding" in dict(event.headers)
        elif isinstance(event, h11.Data):
            received.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            received.complete = True
    return received


@pytest.mark.parametrize("name", SAMPLE)
async def test_a_client_on_a_socket_sees_the_same(autojump_clock, name):
    async with a_world(over_a_socket) as world:
        result = await run(world, load()[name], ROWS[name])

    told = [f"{place}: {each}" for place, s in result.wrong.items() for each in s]
    assert not told, "\n".join(told)
