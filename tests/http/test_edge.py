"""Where the edge listens."""

import socket

import pytest

from gandalf.http.edge import bind

NO_IPV6 = not socket.has_dualstack_ipv6()


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1:0", "127.0.0.1"),
        pytest.param("[::1]:0", "::1", marks=pytest.mark.skipif(NO_IPV6, reason="v4")),
        (":0", "0.0.0.0" if NO_IPV6 else "::"),
    ],
)
def test_a_socket_is_bound_to_the_address(address, host):
    with bind(address) as sock:
        assert sock.getsockname()[0] == host
        assert not sock.getblocking()
        assert not sock.get_inheritable()


@pytest.mark.skipif(NO_IPV6, reason="no IPv6 here")
def test_without_a_host_both_kinds_of_clients_can_connect():
    with bind(":0") as sock:
        sock.listen()
        port = sock.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), 1).close()


def test_an_address_that_is_taken_is_refused():
    with bind("127.0.0.1:0") as sock:
        sock.listen()
        with pytest.raises(OSError, match="in use"):
            bind(f"127.0.0.1:{sock.getsockname()[1]}")
