import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects import sse


def read(chunks):
    buffer = sse.EventBuffer()
    blocks = [buffer.feed(chunk) for chunk in chunks]
    events = [event for block in blocks for event in sse.split(block)]
    return [data for event in events if (data := sse.data_of(event)) is not None]


CORPUS = (
    b"\xef\xbb\xbfdata: first\n\n"
    b": a comment\n\n"
    b"event: x\r\ndata: crlf\r\n\r\n"
    b"data: one\ndata: two\n\n"
    b"data:no space\n\n"
    b"data:  two spaces\r\r"
    b"id: 7\ndata: cr\rdata: mixed\r\n\n"
    b'data: {"text":"\xe2\x80\xa8 \xc2\x85 \xe2\x80\xa9"}\n\n'
    b"data\n\n"
    b"data: last\n\n"
)
EVENTS = [
    b"first",
    b"crlf",
    b"one\ntwo",
    b"no space",
    b" two spaces",
    b"cr\nmixed",
    b'{"text":"\xe2\x80\xa8 \xc2\x85 \xe2\x80\xa9"}',
    b"",
    b"last",
]


def test_reads_every_line_end_comment_and_multi_line_event():
    assert read([CORPUS]) == EVENTS


@given(st.lists(st.integers(0, len(CORPUS)), max_size=30))
def test_any_chunking_gives_the_same_events(cuts):
    edges = [0, *sorted(cuts), len(CORPUS)]
    chunks = [CORPUS[a:b] for a, b in itertools.pairwise(edges)]

    assert read(chunks) == EVENTS


def test_byte_by_byte_gives_the_same_events():
    assert read([bytes([byte]) for byte in CORPUS]) == EVENTS


@given(st.binary(max_size=300), st.integers(1, 40))
def test_no_byte_is_lost_or_made_up(data, size):
    buffer = sse.EventBuffer()

    out = [buffer.feed(data[i : i + size]) for i in range(0, len(data), size)]

    assert b"".join(out) + buffer.flush() == data


def test_an_event_leaves_as_soon_as_it_is_complete():
    buffer = sse.EventBuffer()

    assert buffer.feed(b"data: a\n") == b""
    assert buffer.feed(b"\ndata: b") == b"data: a\n\n"
    assert buffer.flush() == b"data: b"


def test_time_is_linear_in_the_size_of_an_event_that_comes_in_pieces():
    def seconds(size):
        buffer = sse.EventBuffer()
        piece = b"x" * 64
        started = time.perf_counter()
        for _ in range(size // len(piece)):
            buffer.feed(piece)
        buffer.feed(b"\n\n")
        return time.perf_counter() - started

    small = min(seconds(500_000) for _ in range(3))
    assert min(seconds(4_000_000) for _ in range(2)) < 8 * small * 4


def test_an_event_that_does_not_end_is_refused(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    buffer = sse.EventBuffer()

    buffer.feed(b"x" * 100)
    with pytest.raises(sse.EventTooLarge):
        buffer.feed(b"x")


def test_event_renders_what_data_of_reads():
    rendered = sse.event(b'{"a":1}', b"error")

    assert rendered == b'event: error\ndata: {"a":1}\n\n'
    assert sse.data_of(rendered) == b'{"a":1}'
