"""Bodies with content codings: every coding, every split, and what is refused."""

import contextlib
import gzip
import os
import tracemalloc
import zlib

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects.content_coding import (
    MAX_RATIO,
    OUTPUT_PIECE,
    RATIO_FLOOR,
    Decoder,
    ExpandsTooMuch,
    MalformedBody,
    UnsupportedCoding,
    codings_of,
)


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


ENCODERS = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
}
EVERY = pytest.mark.parametrize(
    ("coding", "encode"), ENCODERS.values(), ids=ENCODERS.keys()
)
CHECKSUM = zstd.CompressionParameter.checksum_flag
TEXT = b'{"messages": [{"role": "user", "content": "hello"}]}' * 40


def decoded(value, *pieces):
    decoder = Decoder(codings_of(value.encode()))
    out = []
    for piece in pieces:
        assert decoder.hungry
        decoder.feed(piece)
        while not decoder.hungry:
            out.append(decoder.step())
            assert len(out[-1]) <= 2 * OUTPUT_PIECE
    decoder.close()
    return b"".join(out)


@EVERY
def test_a_body_is_decoded(coding, encode):
    assert decoded(coding, encode(TEXT)) == TEXT


@EVERY
def test_a_body_may_come_byte_by_byte(coding, encode):
    packed = encode(TEXT)

    assert decoded(coding, *(packed[i : i + 1] for i in range(len(packed)))) == TEXT


@EVERY
def test_a_body_of_many_pieces_of_output_is_decoded_whole(coding, encode):
    long = os.urandom(300_000) + b"x" * 2_000_000 + os.urandom(300_000)

    assert decoded(coding, encode(long)) == long


@EVERY
def test_no_bytes_at_all_are_an_empty_body(coding, encode):
    assert decoded(coding) == b""
    assert decoded(coding, encode(b"")) == b""


@EVERY
def test_a_body_that_lacks_its_last_byte_is_truncated(coding, encode):
    packed = encode(TEXT)

    for end in (1, len(packed) // 2, len(packed) - 1):
        with pytest.raises(MalformedBody, match="truncated"):
            decoded(coding, packed[:end])


@EVERY
def test_what_is_not_encoded_is_malformed(coding, encode):
    with pytest.raises(MalformedBody, match=r"not valid"):
        decoded(coding, b"{this is plain JSON, and no compressed body at all}" * 9)


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("zstd", zstd.compress(TEXT, options={CHECKSUM: 1})),
    ],
    ids=["gzip", "deflate", "zstd"],
)
def test_a_changed_byte_of_a_body_with_a_checksum_changes_no_text(coding, packed):
    for at in range(10, len(packed)):
        changed = packed[:at] + bytes([packed[at] ^ 0x55]) + packed[at + 1 :]
        with contextlib.suppress(MalformedBody, UnsupportedCoding):
            assert decoded(coding, changed) == TEXT


@EVERY
@pytest.mark.parametrize("apart", [False, True])
def test_bytes_after_the_end_are_malformed(coding, encode, apart):
    packed = encode(TEXT)
    pieces = (packed, b"more") if apart else (packed + b"more",)

    with pytest.raises(MalformedBody):
        decoded(coding, *pieces)


def test_gzip_members_follow_one_another_and_zeros_may_follow_them():
    members = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two")

    assert decoded("gzip", members + bytes(100)) == b"onetwo"


def test_zstd_frames_follow_one_another():
    assert decoded("zstd", zstd.compress(b"one") + zstd.compress(b"two")) == b"onetwo"


def test_a_second_member_that_is_cut_makes_the_body_truncated():
    with pytest.raises(MalformedBody, match="truncated"):
        decoded("gzip", gzip.compress(b"one") + gzip.compress(b"two")[:5])


@pytest.mark.parametrize(
    ("value", "codings"),
    [
        ("gzip", ("gzip",)),
        ("GZip", ("gzip",)),
        ("identity", ()),
        ("", ()),
        (" , identity , ", ()),
        ("gzip, identity, br", ("gzip", "br")),
    ],
)
def test_codings_are_read_in_any_case_without_identity(value, codings):
    assert codings_of(value.encode()) == codings


def test_several_codings_are_undone_last_first():
    assert decoded("gzip, br", brotli.compress(gzip.compress(TEXT))) == TEXT
    packed = zstd.compress(zlib.compress(gzip.compress(TEXT)))
    assert decoded("gzip, deflate, zstd", packed) == TEXT


@pytest.mark.parametrize("value", ["compress", "gzip, lzma", "gzip;q=1", "*", "\xe9"])
def test_an_unknown_coding_is_named(value):
    with pytest.raises(UnsupportedCoding) as refused:
        codings_of(value.encode("latin-1"))

    name = value.rpartition(" ")[2]
    assert (repr(name) if name.isascii() else "unprintable") in str(refused.value)


def test_more_codings_than_servers_apply_are_refused():
    with pytest.raises(UnsupportedCoding, match="more than 3"):
        codings_of(b"gzip, gzip, gzip, gzip")


def test_a_zstd_frame_of_a_later_version_is_unsupported_not_malformed():
    with pytest.raises(UnsupportedCoding):
        decoded("zstd", b"\x28\xb5\x2f\xfd" + b"x" * 20)


def test_a_zstd_window_above_eight_megabytes_is_refused_before_it_is_allocated():
    window = {zstd.CompressionParameter.window_log: 27}
    packer = zstd.ZstdCompressor(options=window)
    packed = packer.compress(os.urandom(100)) + packer.flush()

    with pytest.raises(UnsupportedCoding):
        decoded("zstd", packed)


def steps(decoder, data):
    """Yield the size of what each step returns."""
    decoder.feed(data)
    while not decoder.hungry:
        yield len(decoder.step())


@EVERY
def test_a_bomb_is_refused_by_its_ratio_and_without_its_memory(coding, encode):
    bomb = encode(bytes(300 * 1024 * 1024))
    decoder = Decoder((coding,))
    sizes = []

    tracemalloc.start()
    with pytest.raises(ExpandsTooMuch):
        sizes.extend(steps(decoder, bomb))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert sum(sizes) <= RATIO_FLOOR + MAX_RATIO * len(bomb)
    assert peak < 2 * 1024 * 1024


def test_a_bomb_inside_a_coding_that_shrinks_it_is_refused_at_the_layer_that_expands():
    # Frames that decode to nothing, compressed well: all work and no output.
    nothing = (
        b"\x50\x2a\x4d\x18" + (60_000).to_bytes(4, "little") + bytes(60_000)
    ) * 99
    bomb = brotli.compress(nothing)
    assert len(bomb) * MAX_RATIO < len(nothing)

    with pytest.raises(ExpandsTooMuch):
        decoded("zstd, br", bomb)


def test_what_expands_much_but_is_small_is_no_bomb():
    assert decoded("gzip", gzip.compress(bytes(RATIO_FLOOR))) == bytes(RATIO_FLOOR)


@EVERY
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_decoded_or_refused(coding, encode, data):
    with contextlib.suppress(MalformedBody, UnsupportedCoding, ExpandsTooMuch):
        assert len(decoded(coding, data)) <= RATIO_FLOOR + MAX_RATIO * len(data)
