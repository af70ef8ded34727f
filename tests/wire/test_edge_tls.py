"""The same through TLS."""

import contextlib
import os
import socket
import ssl

import pytest
import trio
import trio.testing
import trustme

from gandalf.config import Tls
from gandalf.domain.usage import EndReason
from gandalf.http.client_wire import TlsClientWire
from gandalf.http.edge import tls_context
from gandalf.http.poller import READ_SIZE
from tests.wire.edge_server import (
    CHAT,
    Client,
    ScriptedBody,
    edge_server,
    eventually,
    get,
    hanging,
    post,
    replying,
    settle_down,
    streaming,
)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls(authority, tmp_path):
    certificate = authority.issue_cert("127.0.0.1", "gandalf.test")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.private_key_pem.write_to_path(key)
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(cert, append=number > 0)
    return Tls(cert_file=str(cert), key_file=str(key))


class TlsClient(Client):
    """A client whose socket is an ``ssl`` one, non-blocking as well."""

    async def shake_hands(self):
        await eventually(self._try_handshake)

    def _try_handshake(self):
        try:
            self.sock.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        return True

    async def send(self, data):
        while data:
            try:
                data = data[self.sock.send(data) :]
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self.pull()
                await trio.testing.wait_all_tasks_blocked(0.002)


async def connect(edge, authority, *, receive_buffer=0, **versions):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name, version in versions.items():
        setattr(context, name, version)
    plain = edge.connect(receive_buffer=receive_buffer)
    edge.clients.remove(plain)
    sock = context.wrap_socket(
        plain.sock,
        server_hostname="gandalf.test",
        do_handshake_on_connect=False,
        # An end without close_notify raises.
        suppress_ragged_eofs=False,
    )
    client = TlsClient(sock)
    edge.clients.append(client)
    await client.shake_hands()
    return client


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_requests_are_answered_through_tls_and_never_by_http_2(
    tls, authority, version
):
    async with edge_server(tls=tls) as edge:
        assert edge.url.startswith("https://")
        client = await connect(edge, authority, maximum_version=version)
        assert client.sock.version() == version.name.replace("_", ".")
        assert client.sock.selected_alpn_protocol() == "http/1.1"
        for number in range(3):
            body = b"%d" % number
            await client.send(post("/v1/chat/completions", body))
            assert (await client.response()).body == body


async def test_large_bodies_pass_through_tls_both_ways(tls, authority):
    body = bytes(range(256)) * 20_000
    async with edge_server(tls=tls) as edge:
        client = await connect(edge, authority)
        await client.send(post("/v1/chat/completions", body))
        assert (await client.response()).body == body


async def test_the_application_knows_that_it_is_https(tls, authority):
    schemes = []

    async def app(scope, receive, send):
        if scope["type"] == "http":
            schemes.append(scope["scheme"])
            return
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return

    async with edge_server(app=app, tls=tls) as edge:
        client = await connect(edge, authority)
        await client.send(get("/"))
        assert (await client.response()).status == 500
        assert schemes == ["https"]


async def test_a_silent_stream_says_through_tls_that_it_is_alive(
    tls, authority, mock_clock
):
    body = ScriptedBody()
    async with edge_server(streaming(body), tls=tls, keep_alive_interval=5.0) as edge:
        client = await connect(edge, authority)
        await client.send(CHAT)
        await body.give(b"data: 1\n\n")
        await client.head()
        assert await client.piece() == b"data: 1\n\n"
        mock_clock.jump(5.1)
        assert await client.piece() == b": keep-alive\n\n"
        body.end()
        assert await client.piece() == b"data: [DONE]\n\n"


@pytest.mark.parametrize("how", ["tls", "tcp"])
async def test_a_client_that_leaves_through_tls_stops_the_exchange(tls, authority, how):
    async with edge_server(hanging, tls=tls) as edge:
        client = await connect(edge, authority)
        await client.send(CHAT)
        await eventually(lambda: edge.stage.entered)
        if how == "tls":
            with pytest.raises(ssl.SSLWantReadError):
                client.sock.unwrap()
        else:
            client.close()
        await eventually(lambda: edge.stage.cancelled)
        client.close()
        await edge.is_idle()


async def test_a_write_through_tls_that_was_stopped_half_way_is_completed(
    tls, authority, mock_clock
):
    body = ScriptedBody()
    size = 12_000_000
    async with edge_server(streaming(body), tls=tls, shutdown_timeout=1.0) as edge:
        client = await connect(edge, authority, receive_buffer=4096)
        await client.send(CHAT)
        await body.give(b"x" * size)
        await settle_down()
        edge.stop.set()
        await settle_down()
        mock_clock.jump(1.1)
        await settle_down()

        response = await client.response()
        assert response.body[:size] == b"x" * size
        assert b"shutting_down" in response.body[size:]


async def test_a_refusal_through_tls_can_be_read_and_ends_with_a_goodbye(
    tls, authority
):
    async with edge_server(tls=tls, max_body_bytes=10) as edge:
        client = await connect(edge, authority)
        await client.send(post("/", b"x" * 100_000))
        assert (await client.response()).status == 413
        await client.eof()


async def test_the_last_answer_through_tls_ends_with_a_goodbye(tls, authority):
    async with edge_server(replying(b"{}"), tls=tls) as edge:
        client = await connect(edge, authority)
        await client.send(post("/v1/chat/completions", b"{}", b"connection: close\r\n"))
        assert (await client.response()).body == b"{}"
        await client.eof()


async def test_a_client_that_ceases_to_speak_tls_has_left(
    tls, authority, mock_clock, caplog
):
    body = ScriptedBody()
    async with edge_server(streaming(body), tls=tls) as edge:
        client = await connect(edge, authority)
        await client.send(CHAT)
        await body.give(b"data: 1\n\n")
        await client.head()
        os.write(client.sock.fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)
        await settle_down()
        mock_clock.jump(0.6)
        await edge.is_idle()

        (exchange,) = edge.stage.settled
        assert exchange.end_reason is EndReason.CLIENT_DISCONNECT
        assert edge.counters.crashes == 0
        assert caplog.text == ""


async def test_what_comes_while_nobody_reads_is_read_later_however_much_it_is(
    tls, authority
):
    """Looking for a goodbye takes in a part of it, and nothing tells of the rest."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        wire = TlsClientWire(ours, tls_context(tls))
        context = ssl.create_default_context()
        authority.configure_trust(context)
        received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(received, to_send, server_hostname="gandalf.test")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.handshake)
            for _ in range(2):
                with contextlib.suppress(ssl.SSLWantReadError):
                    client.do_handshake()
                theirs.send(to_send.read())
                await trio.testing.wait_all_tasks_blocked(0.01)
                received.write(theirs.recv(READ_SIZE))
        sent = os.urandom(2 * READ_SIZE)
        client.write(sent)
        theirs.sendall(to_send.read())
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not wire.said_goodbye()

        got = b""
        with trio.fail_after(5):
            while len(got) < len(sent):
                got += await wire.receive()
        assert got == sent
        wire.close()


async def test_who_never_completes_the_handshake_is_let_go(tls, mock_clock):
    async with edge_server(tls=tls, header_timeout=5.0) as edge:
        silent, slow = edge.connect(), edge.connect()
        await slow.send(b"\x16\x03\x01\x02\x00\x01")
        await settle_down()
        mock_clock.jump(4.9)
        await settle_down()
        assert edge.counters.open_connections == 2
        mock_clock.jump(1)
        await silent.eof()
        await slow.eof()
        await edge.is_idle()


async def test_who_cannot_agree_on_tls_is_told_why(tls):
    async with edge_server(tls=tls) as edge:
        client = edge.connect()
        await client.send(b"\x16\x03\x01\x00\x05hello")
        await client.eof()
        assert client.data == b"\x15\x03\x03\x00\x02\x02\x0a"  # unexpected_message


@pytest.mark.parametrize("data", [CHAT, b"\0" * 100])
async def test_who_speaks_no_tls_is_told_so_in_tls_and_closed(tls, data):
    async with edge_server(tls=tls) as edge:
        client = edge.connect()
        await client.send(data)
        await client.eof()
        assert not client.data.startswith(b"HTTP")
        assert edge.counters.crashes == 0
        await edge.is_idle()


async def test_clients_without_the_right_certificate_see_why(tls):
    async with edge_server(replying(b"{}"), tls=tls) as edge:
        context = ssl.create_default_context()
        sock = context.wrap_socket(
            socket.create_connection(edge.address),
            server_hostname="gandalf.test",
            do_handshake_on_connect=False,
        )
        sock.setblocking(False)
        client = TlsClient(sock)
        edge.clients.append(client)
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.shake_hands()
        client.close()
        await edge.is_idle()
        assert edge.counters.crashes == 0
