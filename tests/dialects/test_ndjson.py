import itertools
import json
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects import ndjson, sse


def read(chunks):
    buffer = ndjson.LineBuffer()
    blocks = [buffer.feed(chunk) for chunk in chunks]
    lines = [line for block in blocks for line in ndjson.split(block)]
    return [line.strip() for line in lines if line.strip()]


def byte_by_byte(data):
    return [bytes([byte]) for byte in data]


CORPUS = (
    b'{"a":1}\n'
    b"\n"
    b'{"a":"crlf"}\r\n'
    b"\r\n"
    b' {"a":"after a sign of life"}\n'
    b'{"a":\r1}\n'
    b" \t \n"
    b'{"text":"\xe2\x80\xa8 \xc2\x85 \xe2\x80\xa9 \\n \x0b"}\n'
    b'{"a":"last"}\n'
)
LINES = [
    b'{"a":1}',
    b'{"a":"crlf"}',
    b'{"a":"after a sign of life"}',
    b'{"a":\r1}',
    b'{"text":"\xe2\x80\xa8 \xc2\x85 \xe2\x80\xa9 \\n \x0b"}',
    b'{"a":"last"}',
]


def test_reads_every_line_end_blank_line_and_what_is_none():
    assert read([CORPUS]) == LINES


@given(st.lists(st.integers(0, len(CORPUS)), max_size=30))
def test_any_chunking_gives_the_same_lines(cuts):
    edges = [0, *sorted(cuts), len(CORPUS)]
    chunks = [CORPUS[a:b] for a, b in itertools.pairwise(edges)]

    assert read(chunks) == LINES


def test_byte_by_byte_gives_the_same_lines():
    assert read(byte_by_byte(CORPUS)) == LINES


@given(st.binary(max_size=300), st.integers(1, 40))
def test_no_byte_is_lost_or_made_up_and_only_whole_lines_leave(data, size):
    buffer = ndjson.LineBuffer()

    out = [buffer.feed(data[i : i + size]) for i in range(0, len(data), size)]

    assert all(block == b"" or block.endswith(b"\n") for block in out)
    assert b"".join(out) + buffer.flush() == data


@given(st.binary(max_size=200))
def test_the_pieces_of_a_block_are_the_block(block):
    pieces = list(ndjson.split(block))

    assert b"".join(pieces) == block
    assert all(piece.count(b"\n") == 1 for piece in pieces[:-1])


def test_a_line_leaves_as_soon_as_it_is_complete():
    buffer = ndjson.LineBuffer()

    assert buffer.feed(b'{"a"') == b""
    assert buffer.feed(b':1}\n{"b":') == b'{"a":1}\n'
    assert buffer.flush() == b'{"b":'
    assert buffer.flush() == b""


def test_a_line_of_ten_megabytes_is_one_line():
    line = b'{"a":"' + b"x" * 10_000_000 + b'"}'
    pieces = [line[i : i + 65536] for i in range(0, len(line), 65536)]

    assert read([line + b"\n"]) == [line]
    assert read([*pieces, b"\n"]) == [line]


@pytest.mark.parametrize("piece", [b"x", b"x" * 64, b"\r"])
def test_time_is_linear_in_the_size_of_a_line_that_comes_in_pieces(piece):
    def seconds(pieces):
        buffer = ndjson.LineBuffer()
        started = time.process_time()
        for _ in range(pieces):
            buffer.feed(piece)
        buffer.feed(b"\n")
        return time.process_time() - started

    small = min(seconds(20_000) for _ in range(3))
    # Eight times as many pieces; sixty-four times the time if it were quadratic.
    assert min(seconds(160_000) for _ in range(2)) < 8 * small * 4


def test_a_line_that_does_not_end_is_refused(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    buffer = ndjson.LineBuffer()

    buffer.feed(b'{"a":1}\n' + b"x" * 100)
    with pytest.raises(sse.EventTooLarge):
        buffer.feed(b"x")


@given(st.recursive(st.text() | st.integers(), st.lists, max_leaves=5))
def test_a_rendered_line_is_one_line_to_readers_that_end_lines_everywhere(value):
    text = json.dumps(value, ensure_ascii=False, indent=1).encode(
        errors="surrogatepass"
    )

    line = ndjson.line(text)

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line.decode(errors="surrogatepass")) == value
    lines = line.decode(errors="replace").splitlines()
    # JSON escapes the rest of what Python ends lines at.
    assert len(lines) == 1


async def test_httpx_reads_a_rendered_line_as_one():
    line = ndjson.line('{"a":"\u2028 \u2029 \x85"}'.encode())
    response = httpx.Response(200, content=line)

    assert [json.loads(read) for read in response.iter_lines()] == [
        {"a": "\u2028 \u2029 \x85"}
    ]
