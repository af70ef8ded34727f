import itertools
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gandalf.dialects import sse

BOM = b"\xef\xbb\xbf"


def read(chunks):
    buffer = sse.EventBuffer()
    blocks = [buffer.feed(chunk) for chunk in chunks]
    events = [event for block in blocks for event in sse.split(block)]
    return [data for event in events if (data := sse.data_of(event)) is not None]


def by_the_book(stream):
    """Read a whole stream line by line, as the specification says it."""
    pieces = re.split(rb"\r\n|\n|\r", stream.removeprefix(BOM))
    events, values = [], []
    for line in pieces[:-1]:  # the last one has no end
        name, _, value = line.partition(b":")
        if name == b"data":
            values.append(value.removeprefix(b" "))
        elif not line:
            events += [b"\n".join(values)] if values else []
            values = []
    return events


def byte_by_byte(data):
    return [bytes([byte]) for byte in data]


CORPUS = (
    BOM + b"data: first\n\n"
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

# Streams of what matters to a parser, in any order.
streams = st.lists(
    st.sampled_from(
        [
            b"\r",
            b"\n",
            b"\r\n",
            b"\n\n",
            BOM,
            BOM[:2],
            b"data",
            b"data: a",
            b"data:b",
            b"data:  c:d",
            b"datax: e",
            b": comment",
            b"event: f",
            b"retry",
            b"\xe2\x80\xa8",
            b"\xc2\x85",
            b"\x0b\x0c\x1c",
            b"\xff",
            b"\0",
        ]
    ),
    max_size=14,
).map(b"".join)


def test_reads_every_line_end_comment_and_multi_line_event():
    assert read([CORPUS]) == EVENTS == by_the_book(CORPUS)


@given(st.lists(st.integers(0, len(CORPUS)), max_size=30))
def test_any_chunking_gives_the_same_events(cuts):
    edges = [0, *sorted(cuts), len(CORPUS)]
    chunks = [CORPUS[a:b] for a, b in itertools.pairwise(edges)]

    assert read(chunks) == EVENTS


def test_byte_by_byte_gives_the_same_events():
    assert read(byte_by_byte(CORPUS)) == EVENTS


@settings(max_examples=500)
@given(streams, st.data())
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", None)
def test_any_stream_in_any_chunking_is_read_as_the_specification_says(stream, data):
    cuts = [] if data is None else data.draw(st.lists(st.integers(0, len(stream))))
    edges = [0, *sorted(cuts), len(stream)]
    expected = by_the_book(stream)

    assert read([stream]) == expected
    assert read(byte_by_byte(stream)) == expected
    assert read([stream[a:b] for a, b in itertools.pairwise(edges)]) == expected


@given(st.one_of(st.binary(max_size=300), streams), st.integers(1, 40))
def test_no_byte_is_lost_or_made_up_but_the_mark_at_the_start(data, size):
    buffer = sse.EventBuffer()

    out = [buffer.feed(data[i : i + size]) for i in range(0, len(data), size)]

    assert b"".join(out) + buffer.flush() == data.removeprefix(BOM)


@given(st.binary(max_size=200))
def test_the_pieces_of_a_block_are_the_block(block):
    assert b"".join(sse.split(block)) == block


def test_a_byte_order_mark_counts_at_the_start_only():
    marked = BOM + b"data: a\n\n" + BOM + b"data: b\n\n"

    assert read([marked]) == read(byte_by_byte(marked)) == [b"a"]
    assert read([BOM + BOM + b"data: a\n\n"]) == []


def test_what_looks_like_a_byte_order_mark_at_first_is_not_lost():
    buffer = sse.EventBuffer()

    assert buffer.feed(BOM[:2]) == b""
    assert buffer.feed(b"x\n\n") == BOM[:2] + b"x\n\n"


def test_an_event_leaves_as_soon_as_it_is_complete():
    buffer = sse.EventBuffer()

    assert buffer.feed(b"data: a\n") == b""
    assert buffer.feed(b"\ndata: b") == b"data: a\n\n"
    assert buffer.flush() == b"data: b"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_an_event_of_ten_megabytes_is_one_event(end):
    text = b"x" * 10_000_000
    stream = b"data: " + text + end
    pieces = [stream[i : i + 65536] for i in range(0, len(stream), 65536)]

    assert read([stream]) == [text]
    assert read(pieces) == [text]


@pytest.mark.parametrize("piece", [b"x", b"x" * 64, b"data: x\n", b"data: x\r\n"])
def test_time_is_linear_in_the_size_of_an_event_that_comes_in_pieces(piece):
    def seconds(pieces):
        buffer = sse.EventBuffer()
        started = time.process_time()
        for _ in range(pieces):
            buffer.feed(piece)
        buffer.feed(b"\r\n\r\n")
        return time.process_time() - started

    small = min(seconds(20_000) for _ in range(3))
    # Eight times as many pieces; sixty-four times the time if it were quadratic.
    assert min(seconds(160_000) for _ in range(2)) < 8 * small * 4


def test_an_event_that_does_not_end_is_refused(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    buffer = sse.EventBuffer()

    buffer.feed(b"x" * 100)
    with pytest.raises(sse.EventTooLarge):
        buffer.feed(b"x")


def test_an_event_whose_lines_do_not_end_it_is_refused(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    buffer = sse.EventBuffer()

    for _ in range(10):
        buffer.feed(b"data: 345\n")
    with pytest.raises(sse.EventTooLarge):
        buffer.feed(b"data: 345\n")


def test_event_renders_what_data_of_reads():
    rendered = sse.event(b'{"a":1}', b"error")

    assert rendered == b'event: error\ndata: {"a":1}\n\n'
    assert sse.data_of(rendered) == b'{"a":1}'
