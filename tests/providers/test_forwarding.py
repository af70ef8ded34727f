import pytest

from gandalf.providers.forwarding import forwarded


@pytest.mark.parametrize(
    "name",
    [
        b"x-http-method-override",
        b"x-http-method",
        b"x-method-override",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-original-host",
        b"x-client-ip",
        b"true-client-ip",
        b"x-cluster-client-ip",
        b"x-goog-iam-authorization-token",
        b"x-ms-authorization-auxiliary",
        b"ocp-apim-subscription-key",
        b"http2-settings",
    ],
)
def test_what_would_make_another_request_of_it_stays_here(name):
    fields = {name: b"x", b"anthropic-beta": b"y"}

    assert forwarded(fields) == b"anthropic-beta: y\r\n"


@pytest.mark.parametrize("name", [b"if-none-match", b"if-modified-since"])
def test_nothing_asks_an_upstream_for_an_answer_without_a_body(name):
    assert forwarded({name: b"x", b"range": b"bytes=0-9"}) == b"range: bytes=0-9\r\n"


def test_the_same_names_in_another_order_are_forwarded_in_that_order():
    assert forwarded({b"x-a": b"1", b"x-b": b"2"}) == b"x-a: 1\r\nx-b: 2\r\n"
    assert forwarded({b"x-b": b"3", b"x-a": b"4"}) == b"x-b: 3\r\nx-a: 4\r\n"


def test_a_percent_sign_is_nothing_special():
    assert forwarded({b"x%b": b"%d", b"%s": b"%%"}) == b"x%b: %d\r\n%s: %%\r\n"


def test_what_a_client_says_is_about_its_connection_stays_here():
    headers = {b"connection": b"X-A, close", b"x-a": b"1", b"x-b": b"2"}

    assert forwarded(headers) == b"x-b: 2\r\n"
    assert forwarded({**headers, b"connection": b"close"}) == b"x-a: 1\r\nx-b: 2\r\n"
