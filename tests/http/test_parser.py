"""Requests out of bytes: those that repeat an earlier header section, above all."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.domain.errors import BadRequest, Overloaded, PayloadTooLarge
from gandalf.http.parser import (
    MAX_FAMILIAR_BYTES,
    MAX_LESSONS,
    BodyBudget,
    RequestParser,
)

UPLOAD = (b"POST", b"/upload")


def a_parser(max_body_bytes=1000, limit=10_000):
    return RequestParser(
        4000,
        max_body_bytes,
        BodyBudget(limit),
        clock=lambda: 1.0,
        uploads=frozenset({UPLOAD}),
        max_upload_bytes=1000,
    )


def a_post(body=b"{}", path=b"/chat?a=1", length=None, fields=b"X-A: 1\r\n"):
    length = b"%d" % len(body) if length is None else length
    return b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n%b\r\n%b" % (
        path,
        length,
        fields,
        body,
    )


def read(parser, data):
    """The requests in ``data``, as an application would see them."""
    parser.feed(data)
    return taken(parser)


def taken(parser):
    found = [
        (r.method, r.path, r.query, r.version, r.headers, r.body, r.keep_alive)
        for r in parser.requests
    ]
    parser.requests.clear()
    return found


@pytest.fixture
def parser():
    """A parser that has seen two requests of one header section."""
    parser = a_parser()
    read(parser, a_post(b"1"))
    read(parser, a_post(b"22"))
    return parser


@pytest.mark.parametrize("body", [b"", b"333", b"x" * 1000], ids=len)
def test_a_request_is_read_the_same_when_its_header_section_is_familiar(parser, body):
    assert read(parser, a_post(body)) == read(a_parser(), a_post(body))

    other = a_post(b"4", b"/other")
    assert read(parser, other) == read(a_parser(), other)


def test_a_familiar_header_section_is_not_parsed_again(parser, monkeypatch):
    monkeypatch.setattr(httptools, "HttpRequestParser", None)

    assert len(read(parser, a_post(b"333"))) == 1


def test_a_familiar_request_is_counted_and_stamped(parser):
    used = parser._budget.used

    parser.feed(memoryview(a_post(b"333")))

    assert parser._budget.used == used + 3
    (request,) = parser.requests
    assert request.received_at == 1.0
    assert request.incoming is None


def test_no_two_requests_share_their_header_fields(parser):
    parser.feed(a_post(b"333"))
    first = parser.requests.pop()
    first.headers.clear()

    assert read(parser, a_post(b"333")) == read(a_parser(), a_post(b"333"))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (a_post(b"x" * 1001), PayloadTooLarge),
        (a_post(length=b"999999999999999999999"), BadRequest),
        (a_post(length=b"-2"), BadRequest),
        (a_post(length=b"+2"), BadRequest),
        (a_post(length=b"2 2"), BadRequest),
        (a_post(length=b""), BadRequest),
        (a_post(length=b"0" * 101 + b"2"), BadRequest),
        (a_post(length=b"2\r\nContent-Length: 2"), BadRequest),
        (a_post() + b"\0", BadRequest),
    ],
)
def test_what_is_refused_is_refused_behind_a_familiar_header_section(
    parser, data, error
):
    with pytest.raises(error):
        parser.feed(data)


def test_the_bodies_of_familiar_requests_have_their_limit_too():
    parser = a_parser(limit=10)
    parser.feed(a_post(b"1234"))
    parser.feed(a_post(b"1234"))

    with pytest.raises(Overloaded):
        parser.feed(a_post(b"123"))


def test_what_comes_behind_a_familiar_request_is_read(parser):
    data = a_post(b"333") + a_post(b"4") + a_post(b"5", b"/other")

    assert read(parser, data) == read(a_parser(), data)


def test_the_rest_of_a_familiar_request_may_come_later(parser):
    data = a_post(b"333")
    for at in range(1, len(data)):
        parser.feed(data[:at])
        assert parser.requests == []
        assert read(parser, data[at:]) == read(a_parser(), data)


def test_a_client_that_never_repeats_itself_is_given_up_and_one_that_does_is_not():
    parser = a_parser()
    for number in range(2 * MAX_LESSONS):
        read(parser, a_post(fields=b"x-id: %d\r\n" % number))
    read(parser, a_post())

    assert parser._head is None

    parser = a_parser()
    for number in range(3 * MAX_LESSONS):
        read(parser, a_post(fields=b"x-id: %d\r\n" % (number // 3)))
    assert b"x-id: %d" % (MAX_LESSONS - 1) in parser._head.after


def test_nothing_is_held_of_a_connections_only_request():
    parser = a_parser()
    read(parser, a_post())

    assert parser._head is None
    assert parser.arriving == (b"", {})


@pytest.mark.parametrize(
    "data",
    [
        a_post(fields=b"Expect: 100-continue\r\n"),
        a_post(fields=b"Connection: close\r\n"),
        a_post(fields=b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
        a_post(path=b"/upload"),
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        a_post(fields=b"x-a: %b\r\n" % (b"a" * 3950)),
    ],
    ids=["expects", "last", "upgrade", "upload", "chunked", "no body", "large"],
)
def test_only_plain_requests_become_familiar(data):
    parser = a_parser()
    read(parser, a_post())
    parser.feed(data)

    assert parser._head is None


@pytest.mark.parametrize("ending", [b"\r\n", b"\n", b"\r", b"\r\n\r\n"])
@pytest.mark.parametrize("body", [b"", b"\r\n\r\n", b'{"a": 1}'])
def test_a_line_break_behind_the_body_is_no_part_of_the_next_one(ending, body):
    parser = a_parser()
    for _ in range(3):
        read(parser, a_post(body) + ending)

    data = a_post((body or ending) + b"rest") + ending
    assert read(parser, data) == read(a_parser(), data)


@pytest.mark.parametrize("size", [MAX_FAMILIAR_BYTES - 200, MAX_FAMILIAR_BYTES])
def test_large_header_sections_are_not_held_between_two_requests(size):
    parser = RequestParser(32768, 1000, BodyBudget(1000), clock=lambda: 1.0)
    for _ in range(3):
        read(parser, a_post(fields=b"x-a: %b\r\n" % (b"a" * size)))

    assert (parser._head is None) == (size == MAX_FAMILIAR_BYTES)


def test_a_length_with_more_digits_than_python_converts_is_refused():
    parser = RequestParser(32768, 1000, BodyBudget(1000), clock=lambda: 1.0)
    with pytest.raises(BadRequest):
        parser.feed(a_post(length=b"0" * 5000 + b"2"))


messages = st.builds(
    a_post,
    body=st.binary(max_size=12),
    path=st.sampled_from([b"/a", b"/b?c=d"]),
    length=st.sampled_from([None, None, None, None, b"2", b"02", b"x", b" 2 "]),
    fields=st.sampled_from([b"", b"", b"x: 1\r\n", b"Connection: close\r\n"]),
)
breaks = st.sampled_from([b"", b"", b"", b"\r\n", b"\n", b"\r\n\r\n"])
pieces_sent = st.builds(lambda *parts: b"".join(parts), breaks, messages, breaks)


def outcome(parser, pieces):
    found = []
    for piece in pieces:
        try:
            parser.feed(piece)
        except BadRequest as error:
            return [*found, *taken(parser), error.message]
        found += taken(parser)
    return found


@given(st.lists(pieces_sent, max_size=12), st.randoms(use_true_random=False))
def test_however_the_bytes_arrive_the_requests_are_the_same(sent, random):
    stream = b"".join(sent)
    cuts = sorted(random.randrange(len(stream)) for _ in sent)
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]

    assert outcome(a_parser(), sent) == outcome(a_parser(), pieces)
    single = [stream[at : at + 1] for at in range(len(stream))]
    assert outcome(a_parser(), sent) == outcome(a_parser(), single)
