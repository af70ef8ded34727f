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

    assert forwarded(fields) == [(b"anthropic-beta", b"y")]


@pytest.mark.parametrize("name", [b"if-none-match", b"if-modified-since"])
def test_nothing_asks_an_upstream_for_an_answer_without_a_body(name):
    assert forwarded({name: b"x", b"range": b"bytes=0-9"}) == [(b"range", b"bytes=0-9")]
