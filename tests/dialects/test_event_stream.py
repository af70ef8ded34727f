import itertools
import random
import struct
import time
import uuid
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects import event_stream, sse
from gandalf.dialects.conversation import Failed
from gandalf.dialects.event_stream import Decoder, FramingError, Message
from tests.fakes import bedrock_format as fmt

values = st.one_of(
    st.booleans(),
    st.integers(-(2**7), 2**7 - 1).map(fmt.Byte),
    st.integers(-(2**15), 2**15 - 1).map(fmt.Short),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(fmt.Long),
    st.integers(0, 2**53).map(fmt.Timestamp),
    st.binary(max_size=20),
    st.text(max_size=20),
    st.uuids(),
)
names = st.text(min_size=1, max_size=8)
messages = st.tuples(st.binary(max_size=60), st.dictionaries(names, values, max_size=4))


def read(chunks):
    """Return the messages of ``chunks``, and how it ended."""
    decoder = Decoder()
    found = []
    try:
        for chunk in chunks:
            found += decoder.feed(chunk)
        decoder.flush()
    except FramingError as error:
        return found, str(error)
    return found, None


def pieces(data, cuts):
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def bytewise(data):
    return [data[i : i + 1] for i in range(len(data))]


def plain(value):
    return value.bytes if isinstance(value, uuid.UUID) else value


@given(st.lists(messages, max_size=4))
def test_the_encoder_of_these_tests_is_right_by_botocores_decoder(sent):
    buffer = EventStreamBuffer()

    buffer.add_data(b"".join(fmt.frame(*message) for message in sent))

    received = [(message.payload, message.headers) for message in buffer]
    assert received == [
        (payload, {name: plain(value) for name, value in headers.items()})
        for payload, headers in sent
    ]


@given(st.lists(messages, max_size=4), st.lists(st.integers(0), max_size=20))
def test_every_message_comes_as_it_was_sent_in_any_chunking(sent, cuts):
    data = b"".join(fmt.frame(*message) for message in sent)

    found, ending = read(pieces(data, cuts))

    assert ending is None
    assert found == [
        Message({name: plain(value) for name, value in headers.items()}, payload)
        for payload, headers in sent
    ]


# https://github.com/awslabs/aws-c-event-stream, payload_one_str_header
def test_reads_the_published_vector_of_one_header():
    data = bytes.fromhex(
        "0000003d0000002007fd83960c636f6e74656e742d747970650700106170706c6963"
        "6174696f6e2f6a736f6e7b27666f6f273a27626172277d8d9c08b1"
    )

    [message] = Decoder().feed(data)

    assert message == Message({"content-type": "application/json"}, b"{'foo':'bar'}")


SEVERAL = (
    fmt.event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "a"}})
    + fmt.exception("throttlingException", "slow down")
    + fmt.frame()
)


def test_byte_by_byte_gives_the_same_messages():
    assert read(bytewise(SEVERAL)) == read([SEVERAL])
    assert len(read([SEVERAL])[0]) == 3


@given(st.integers(0, len(SEVERAL) * 8 - 1), st.lists(st.integers(0), max_size=10))
def test_a_flipped_bit_is_found_and_what_came_before_it_is_kept(bit, cuts):
    broken = bytearray(SEVERAL)
    broken[bit // 8] ^= 1 << bit % 8
    whole, _ = read([SEVERAL])

    found, ending = read([bytes(broken)])

    assert found == whole[: len(found)]
    assert len(found) < len(whole)
    assert ending is not None
    assert read(pieces(bytes(broken), cuts)) == (found, ending)
    assert read(bytewise(bytes(broken))) == (found, ending)


@given(st.integers(0, len(SEVERAL)))
def test_a_cut_stream_gives_the_messages_before_the_cut(at):
    whole, _ = read([SEVERAL])

    found, ending = read([SEVERAL[:at]])

    assert ending is None
    assert found == whole[: len(found)]
    assert (len(found) == 3) == (at == len(SEVERAL))


@given(st.binary(max_size=400), st.lists(st.integers(0), max_size=10))
def test_nothing_but_its_own_error_comes_of_random_bytes(data, cuts):
    found, ending = read(pieces(data, cuts))

    assert (found, ending) == read([data])


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_nothing_but_its_own_error_comes_of_random_headers(section, payload):
    raw = _with_headers(section, payload)

    found, ending = read([raw])

    assert ending is None or "header" in ending or "headers" in ending
    assert len(found) == (ending is None)


def _with_headers(section, payload):
    class Raw(dict):
        def items(self):
            return [("x", None)]

    original = fmt.header
    fmt.header = lambda name, value: section
    try:
        return fmt.frame(payload, Raw())
    finally:
        fmt.header = original


def test_the_same_header_twice_is_no_message():
    section = fmt.header("a", "1") + fmt.header("a", "2")

    _, ending = read([_with_headers(section, b"")])

    assert ending == "a message has the same header twice"


@pytest.mark.parametrize(
    ("total", "headers", "said"),
    [
        (0xFFFFFFFF, 0, "a message of the stream is too large"),
        (0x00100000, 0x00080000, "the headers of a message are too large"),
        (15, 0, "the stream's framing is broken: lengths"),
        (20, 8, "the stream's framing is broken: lengths"),
    ],
)
def test_impossible_lengths_are_refused_before_anything_is_kept(total, headers, said):
    prelude = struct.pack(">II", total, headers)
    data = prelude + struct.pack(">I", zlib.crc32(prelude))

    assert read([data]) == ([], said)


def test_its_error_is_one_that_whoever_passes_streams_on_knows():
    assert issubclass(FramingError, sse.EventTooLarge)


def test_it_stays_broken_once_it_is():
    decoder = Decoder()
    with pytest.raises(FramingError):
        decoder.feed(b"HTTP/1.1 500 Internal")

    with pytest.raises(FramingError):
        decoder.feed(SEVERAL)


def test_header_sections_are_remembered_within_bounds():
    decoder = Decoder()

    for number in range(3 * event_stream.MAX_KNOWN_HEADERS):
        [message] = decoder.feed(fmt.frame(b"", {"number": number}))
        assert message.headers == {"number": number}

    assert len(decoder._known) == event_stream.MAX_KNOWN_HEADERS


def test_time_is_linear_in_the_size_of_a_message_that_comes_in_pieces():
    def seconds(size):
        data = fmt.frame(random.Random(1).randbytes(size))
        decoder = Decoder()
        started = time.process_time()
        for at in range(0, len(data), 64):
            decoder.feed(data[at : at + 64])
        return time.process_time() - started

    small = min(seconds(250_000) for _ in range(3))
    assert min(seconds(2_000_000) for _ in range(2)) < 8 * small * 4


@pytest.mark.parametrize(
    ("data", "failed"),
    [
        (
            fmt.exception("throttlingException", "slow down"),
            Failed(message="slow down", code="throttlingException", status=429),
        ),
        (
            fmt.exception("validationException", "bad"),
            Failed(message="bad", code="validationException", status=400),
        ),
        (
            fmt.exception("internalServerException", "oops"),
            Failed(message="oops", code="internalServerException", status=500),
        ),
        (
            fmt.exception("serviceUnavailableException", "later"),
            Failed(message="later", code="serviceUnavailableException", status=503),
        ),
        (
            fmt.exception("modelTimeoutException", "slow"),
            Failed(message="slow", code="modelTimeoutException", status=408),
        ),
        (
            fmt.exception(
                "modelStreamErrorException",
                "failed",
                originalStatusCode=502,
                originalMessage="bad gateway",
            ),
            Failed(message="failed", code="modelStreamErrorException", status=502),
        ),
        (
            fmt.exception("modelStreamErrorException", "failed"),
            Failed(message="failed", code="modelStreamErrorException"),
        ),
        (
            fmt.exception("newException", "who knows"),
            Failed(message="who knows", code="newException"),
        ),
        (
            fmt.error("InternalServerException", "oops"),
            Failed(message="oops", code="InternalServerException", status=500),
        ),
        (
            fmt.frame(b"<html>", {":message-type": "exception"}),
            Failed(message=""),
        ),
    ],
)
def test_tells_what_a_service_says_went_wrong(data, failed):
    [message] = Decoder().feed(data)

    assert event_stream.failed_of(message) == failed


def test_an_event_is_no_failure():
    [message] = Decoder().feed(fmt.event("metadata", {}))

    assert event_stream.failed_of(message) is None
