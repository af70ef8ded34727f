"""How a connection comes about: names, addresses, TLS, and each of them failing."""

import errno
import socket
import ssl
from contextlib import closing

import pytest
import trio
import trustme

from gandalf.config import Timeouts
from gandalf.http.dial import RESOLVE_TTL, Address, origin_of, race, tls_context
from gandalf.http.upstream import Pool
from gandalf.providers.watch import UpstreamBroken
from tests.fakes.calls import TooLate, call, opened, read
from tests.fakes.servers import OK, answering, echo_lengths, serving
from tests.wire.edge_server import eventually

IN_A_HURRY = Timeouts(connect=0.05, response_headers=5.0)
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"


class Names(trio.abc.HostnameResolver):
    """A name system that a test writes."""

    def __init__(self, *addresses, port=0):
        self.addresses = addresses
        self.port = port
        self.asked = 0
        self.asked_twice = trio.Event()
        self.answering = trio.Event()
        self.answering.set()
        self.failing = False

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        self.asked += 1
        if self.asked == 2:
            self.asked_twice.set()
        await self.answering.wait()
        if self.failing:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self.addresses
        ]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError

    def install(self):
        trio.socket.set_custom_hostname_resolver(self)
        return self


# --- base URLs ---


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://a.example", b"a.example"),
        ("http://a.example:80/v1", b"a.example"),
        ("http://a.example:8080", b"a.example:8080"),
        ("https://a.example:443", b"a.example"),
        ("https://a.example:80", b"a.example:80"),
        ("http://[::1]:8080/", b"[::1]:8080"),
        ("http://bücher.example", b"xn--bcher-kva.example"),
        ("https://user:secret@a.example/", b"a.example"),
    ],
)
def test_the_host_field_is_the_origin_without_its_default_port(url, host):
    assert origin_of(url).authority == host


@pytest.mark.parametrize("url", ["", "a.example", "ftp://a.example", "https:///v1"])
def test_what_is_not_an_http_url_is_refused(url):
    with pytest.raises(ValueError, match="base URL"):
        Pool(url)


# --- TCP ---


async def test_a_refused_connection_was_not_sent(closed_port):
    with closing(Pool(f"http://127.0.0.1:{closed_port}")) as pool:
        with pytest.raises(UpstreamBroken, match="Connection refused") as broken:
            await call(pool)
        assert pool.open == 0

    assert not broken.value.sent
    assert str(closed_port) not in str(broken.value)


async def test_a_connect_that_hangs_runs_into_the_connect_phase(deaf_port):
    with closing(Pool(f"http://127.0.0.1:{deaf_port}")) as pool:
        with pytest.raises(TooLate, match="connect"):
            await call(pool, None, IN_A_HURRY)
        assert pool.open == 0


async def test_ipv6_literals_connect():
    try:
        server = serving(echo_lengths, host="::1")
        async with server as at:
            with closing(Pool(at.url)) as pool:
                assert (await call(pool)).body == b"2"
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise
        pytest.skip("no IPv6 here")


async def test_both_legs_send_small_pieces_at_once():
    async with serving(echo_lengths) as server:
        with closing(Pool(server.url)) as pool:
            response = await opened(pool)
            sock = response._connection._wire._sock
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await read(response)


# --- names ---


async def test_an_address_is_not_resolved():
    names = Names().install()
    async with serving(echo_lengths) as server:
        with closing(Pool(server.url)) as pool:
            await call(pool)

    assert names.asked == 0


async def test_a_name_is_resolved_once_in_a_while():
    names = Names("127.0.0.1").install()
    now = 0.0
    async with serving(answering(CLOSING), name="llm.test") as server:
        with closing(Pool(server.url, clock=lambda: now)) as pool:
            for _ in range(3):
                await call(pool)
            assert names.asked == 1
            now = RESOLVE_TTL
            await call(pool)
            assert names.asked == 2


async def test_many_connects_ask_for_the_name_once():
    names = Names("127.0.0.1").install()
    names.answering = trio.Event()
    async with serving(echo_lengths, name="llm.test") as server:
        with closing(Pool(server.url)) as pool:
            async with trio.open_nursery() as callers:
                for _ in range(10):
                    callers.start_soon(call, pool)
                await trio.testing.wait_all_tasks_blocked(0.005)
                names.answering.set()

    assert names.asked == 1


async def test_who_was_to_ask_for_the_name_and_left_is_replaced():
    names = Names("127.0.0.1").install()
    names.answering = trio.Event()
    async with serving(echo_lengths, name="llm.test") as server:
        with closing(Pool(server.url)) as pool:
            async with trio.open_nursery() as callers:
                callers.start_soon(expect_too_late, pool)
                await trio.testing.wait_all_tasks_blocked()
                callers.start_soon(call, pool)
                with trio.fail_after(5):
                    await names.asked_twice.wait()
                names.answering.set()
            assert pool.open == pool.idle == 1


async def expect_too_late(pool):
    with pytest.raises(TooLate, match="connect"):
        await call(pool, None, IN_A_HURRY)


async def test_a_resolver_that_hangs_runs_into_the_connect_phase():
    names = Names("127.0.0.1").install()
    names.answering = trio.Event()
    with closing(Pool("http://llm.test:1")) as pool:
        with pytest.raises(TooLate, match="connect"):
            await call(pool, None, IN_A_HURRY)
        assert pool.open == 0


async def test_a_name_that_is_not_found_was_not_sent_and_is_not_asked_again_at_once():
    names = Names().install()
    names.failing = True
    now = 0.0
    with closing(Pool("http://llm.test:1", clock=lambda: now)) as pool:
        for _ in range(3):
            with pytest.raises(UpstreamBroken, match="resolve") as broken:
                await call(pool)
        assert names.asked == 1
        now = 1.0
        with pytest.raises(UpstreamBroken, match="resolve"):
            await call(pool)
        assert names.asked == 2
        assert pool.open == 0

    assert not broken.value.sent


async def test_while_the_resolver_fails_the_last_known_address_serves():
    names = Names("127.0.0.1").install()
    now = 0.0
    async with serving(answering(CLOSING), name="llm.test") as server:
        with closing(Pool(server.url, clock=lambda: now)) as pool:
            await call(pool)
            names.failing = True
            now = RESOLVE_TTL
            assert (await call(pool)).body == b"ok"
            assert names.asked == 2


async def test_a_failed_connect_asks_for_the_name_again(closed_port):
    names = Names("127.0.0.1").install()
    with closing(Pool(f"http://llm.test:{closed_port}")) as pool:
        for _ in range(2):
            with pytest.raises(UpstreamBroken, match="refused"):
                await call(pool)

    assert names.asked == 2


async def test_a_dead_address_gives_way_to_the_next_and_is_not_tried_first_again():
    # 127.0.0.2 refuses: nothing listens there.
    names = Names("127.0.0.2", "127.0.0.1").install()
    async with serving(answering(CLOSING), name="llm.test") as server:
        with closing(Pool(server.url)) as pool:
            await call(pool)
            assert pool._resolver._addresses[0].sockaddr[0] == "127.0.0.1"
            await call(pool)

    assert names.asked == 1


async def test_an_address_that_swallows_packets_gets_only_a_head_start():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.2", 0))
        port = deaf.getsockname()[1]
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.2", port))
        Names("127.0.0.2", "127.0.0.1").install()
        async with serving(answering(CLOSING), port=port, name="llm.test") as server:
            with closing(Pool(server.url)) as pool:
                with trio.fail_after(2):
                    got = await call(pool)
                assert pool.open == 0
        for filler in fillers:
            filler.close()

    assert got.body == b"ok"


async def test_when_every_address_refuses_the_connection_does(closed_port):
    Names("127.0.0.2", "127.0.0.1").install()
    with closing(Pool(f"http://llm.test:{closed_port}")) as pool:
        with pytest.raises(UpstreamBroken, match="Connection refused"):
            await call(pool)
        assert pool.open == 0


async def test_an_address_that_refuses_does_not_use_up_its_head_start(mock_clock):
    # The clock stands still, so a head start would never end.
    Names("127.0.0.2", "127.0.0.1").install()
    async with serving(answering(CLOSING), name="llm.test") as server:
        with closing(Pool(server.url)) as pool:
            assert (await call(pool)).body == b"ok"


def two_addresses():
    return [Address(socket.AF_INET, (f"192.0.2.{n}", 80)) for n in (1, 2)]


async def test_of_two_addresses_that_answer_at_once_one_is_closed(autojump_clock):
    both_answer = trio.Event()
    made, won = [], []

    async def connect(address):
        await both_answer.wait()
        made.append(socket.socket())
        return made[-1]

    async def racing():
        won.append(await race(two_addresses(), connect))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(racing)
        await trio.sleep(1)
        both_answer.set()

    [(_, sock)] = won
    closed = [other.fileno() == -1 for other in made]
    sock.close()
    assert sorted(closed) == [False, True]


async def test_who_leaves_as_an_address_answers_leaves_no_connection():
    made = []

    async def connect(address):
        scope.cancel()
        made.append(socket.socket())
        return made[-1]

    with trio.CancelScope() as scope:
        await race(two_addresses(), connect)

    assert scope.cancelled_caught
    assert [sock.fileno() for sock in made] == [-1] * len(made) != []


# --- TLS ---


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def server_tls(authority, name="localhost"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(name).configure_cert(context)
    return context


def client_tls(authority):
    context = tls_context()
    authority.configure_trust(context)
    return context


async def test_tls_serves_with_name_and_protocol_announced(authority):
    seen = []
    tls = server_tls(authority)
    tls.sni_callback = lambda _socket, name, _context: seen.append(name)

    async def script(peer):
        while True:
            await peer.read_request()
            seen.append(peer.stream.selected_alpn_protocol())
            await peer.send(OK)

    async with serving(script, tls=tls, name="localhost") as server:
        with closing(Pool(server.url, tls=client_tls(authority))) as pool:
            for _ in range(3):
                assert (await call(pool)).body == b"ok"

    assert seen == ["localhost", "http/1.1", "http/1.1", "http/1.1"]
    assert len(server.peers) == 1


async def test_an_extra_authority_can_be_given_as_a_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    tls = server_tls(authority)
    async with serving(echo_lengths, tls=tls, name="localhost") as server:
        with closing(Pool(server.url, tls=tls_context(str(path)))) as pool:
            assert (await call(pool)).body == b"2"


async def test_an_untrusted_certificate_is_refused(authority):
    requests = []

    async def script(peer):
        requests.append(await peer.read_request())

    tls = server_tls(authority)
    async with serving(script, tls=tls, name="localhost") as server:
        with closing(Pool(server.url)) as pool:
            with pytest.raises(UpstreamBroken, match="certificate") as broken:
                await call(pool)
            assert pool.open == 0

    assert not broken.value.sent
    assert requests == []


async def test_a_certificate_for_another_host_is_refused(authority):
    tls = server_tls(authority, "elsewhere.example")
    async with serving(echo_lengths, tls=tls, name="localhost") as server:
        with closing(Pool(server.url, tls=client_tls(authority))) as pool:
            with pytest.raises(UpstreamBroken, match="Hostname mismatch"):
                await call(pool)
            assert pool.open == 0


async def test_a_plain_server_fails_the_handshake(authority):
    async def script(peer):
        await peer.send(b"HTTP/1.1 400 Speak HTTP\r\n\r\n")
        await peer.wait_left()

    async with serving(script, name="localhost") as server:
        url = server.url.replace("http:", "https:")
        with closing(Pool(url, tls=client_tls(authority))) as pool:
            with pytest.raises(UpstreamBroken, match="TLS handshake") as broken:
                await call(pool)
            assert pool.open == 0

    assert not broken.value.sent


async def test_a_handshake_that_hangs_runs_into_the_connect_phase(
    authority, mock_clock
):
    async def script(peer):
        await peer.wait_left()

    async def fail(pool):
        with pytest.raises(TooLate, match="connect"):
            await call(pool, None, IN_A_HURRY)

    async with serving(script, name="localhost") as server:
        url = server.url.replace("http:", "https:")
        with closing(Pool(url, tls=client_tls(authority))) as pool:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail, pool)
                await eventually(lambda: server.peers)
                mock_clock.jump(0.1)
            assert pool.open == 0
            await eventually(server.peers[0].left.is_set)


async def test_an_end_that_tls_did_not_announce_is_no_end_of_a_body(authority):
    async def script(peer):
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")

    tls = server_tls(authority)
    async with serving(script, tls=tls, name="localhost") as server:
        with closing(Pool(server.url, tls=client_tls(authority))) as pool:
            with pytest.raises(UpstreamBroken):
                await call(pool)


async def test_an_announced_end_is_the_end_of_a_body(authority):
    async def script(peer):
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nwhole")
        await peer.stream.aclose()

    tls = server_tls(authority)
    async with serving(script, tls=tls, name="localhost") as server:
        with closing(Pool(server.url, tls=client_tls(authority))) as pool:
            assert (await call(pool)).body == b"whole"


async def test_a_second_answer_in_the_same_tls_flight_is_never_used(authority):
    async def script(peer):
        await peer.read_request()
        # Two records in one segment: the second stays inside the TLS layer.
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        await peer.send(OK)
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        await peer.wait_left()

    tls = server_tls(authority)
    async with serving(script, tls=tls, name="localhost") as server:
        with closing(Pool(server.url, tls=client_tls(authority))) as pool:
            bodies = [(await call(pool)).body for _ in range(3)]

    assert bodies == [b"ok"] * 3
    assert len(server.peers) == 3


async def test_closing_an_unread_answer_does_not_wait_for_tls(authority):
    async def script(peer):
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        await peer.wait_left()

    tls = server_tls(authority)
    async with serving(script, tls=tls, name="localhost") as server:
        with closing(Pool(server.url, tls=client_tls(authority))) as pool:
            response = await opened(pool)
            response.close()
            assert pool.open == 0
            with trio.fail_after(1):
                await server.peers[0].left.wait()
