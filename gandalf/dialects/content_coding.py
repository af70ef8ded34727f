"""Decoding of HTTP content codings (RFC 9110, section 8.4) within bounds. No I/O.

``Decoder`` takes encoded bytes (``feed``) and returns decoded pieces (``step``). A step
takes about a millisecond at most, whatever the input: a caller on the event loop runs a
checkpoint between steps, and stops when it has more output than it wants. A body that
expands suspiciously is refused by ratio, at every layer of a body with more than one
coding, so that a decompression bomb costs no more memory and time than other bodies of
its size.

gzip and deflate come from the standard library. brotli and Zstandard are imported when
the first body needs them.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backports.zstd import ZstdDecompressor

ACCEPTED = "gzip, deflate, br, zstd"
"""The supported codings, as the value of an ``Accept-Encoding`` field."""

MAX_CODINGS = 3
"""Codings of one body. Servers apply one, proxies seldom a second."""

# Bytes that one step takes in and, about, puts out.
INPUT_PIECE = 16 * 1024
OUTPUT_PIECE = 64 * 1024

# Text compresses up to some 20 times, a body of repeated base64 blocks 100 times. zlib
# reaches 1032, brotli and Zstandard much more. Small bodies are not looked at.
MAX_RATIO = 250
RATIO_FLOOR = 1024 * 1024

# RFC 9659: a Zstandard content coding uses windows of at most 8 MB.
ZSTD_WINDOW_LOG = 23


class CodingError(Exception):
    """A body could not be decoded; the message says why."""


class UnsupportedCoding(CodingError):
    """The coding is unknown, or the body uses a variant that is not supported."""


class MalformedBody(CodingError):
    """The body is not valid in its declared coding, or it is truncated."""


class ExpandsTooMuch(CodingError):
    """The body expands more than ``MAX_RATIO`` times."""


class Codec(Protocol):
    """A decompressor of one coding."""

    needs_input: bool
    """False while ``decompress(b"")`` may return more."""

    @property
    def complete(self) -> bool:
        """True at the end of the coding, and before its first byte."""

    def decompress(self, data: bytes) -> bytes:
        """Take in ``data`` and return about ``OUTPUT_PIECE`` bytes at most.

        Raises:
            CodingError: The data is not valid.
        """


def codings_of(value: bytes) -> tuple[str, ...]:
    """Return the codings that a ``Content-Encoding`` value lists, in lower case.

    They are in the order in which they were applied, without ``identity``.

    Raises:
        UnsupportedCoding: One of them is unknown, or there are too many.
    """
    names = [name.strip().lower() for name in value.decode("latin-1").split(",")]
    codings = tuple(name for name in names if name not in ("", "identity"))
    for name in codings:
        if name not in _CODECS:
            raise UnsupportedCoding(f"unsupported content coding {_shown(name)}")
    if len(codings) > MAX_CODINGS:
        raise UnsupportedCoding(f"more than {MAX_CODINGS} content codings")
    return codings


class Decoder:
    """Decodes one body.

    Args:
        codings: As ``codings_of`` returns them.
    """

    def __init__(self, codings: tuple[str, ...]) -> None:
        self._codecs = [_CODECS[name]() for name in reversed(codings)]
        self._input = b""
        self._taken = 0
        self._bytes_in = 0
        # Of each codec, how many bytes it has put out.
        self._bytes_out = [0] * len(self._codecs)

    @property
    def hungry(self) -> bool:
        """True if ``step`` can return nothing before the next ``feed``."""
        return self._taken == len(self._input) and all(
            codec.needs_input for codec in self._codecs
        )

    def feed(self, data: bytes) -> None:
        """Add encoded bytes. Only while the decoder is ``hungry``."""
        self._input, self._taken = data, 0
        self._bytes_in += len(data)

    def step(self) -> bytes:
        """Return the next decoded bytes; b"" says nothing about the end.

        Raises:
            MalformedBody: The input is not valid.
            UnsupportedCoding: It uses a variant that is not supported.
            ExpandsTooMuch: The ratio of output and input is too high.
        """
        start = self._last_with_output()
        data = b"" if start >= 0 else self._next_input()
        for index in range(max(start, 0), len(self._codecs)):
            if not data and index != start:
                return b""
            data = self._codecs[index].decompress(data)
            self._count(index, len(data))
        return data

    def close(self) -> None:
        """Check that the input has ended where its codings end. After the last step.

        Raises:
            MalformedBody: It is truncated.
        """
        if not all(codec.complete for codec in self._codecs):
            raise MalformedBody("the compressed body is truncated")

    def _last_with_output(self) -> int:
        """Return the index of the last codec that can go on without input, or -1."""
        for index in range(len(self._codecs) - 1, -1, -1):
            if not self._codecs[index].needs_input:
                return index
        return -1

    def _next_input(self) -> bytes:
        start = self._taken
        self._taken = min(start + INPUT_PIECE, len(self._input))
        return self._input[start : self._taken]

    def _count(self, index: int, size: int) -> None:
        self._bytes_out[index] += size
        if self._bytes_out[index] > RATIO_FLOOR + MAX_RATIO * self._bytes_in:
            raise ExpandsTooMuch(
                f"the compressed body expands more than {MAX_RATIO} times"
            )


class _Zlib:
    """The format ``deflate``: zlib's, or raw, which some servers send by mistake."""

    name = "deflate"

    def __init__(self) -> None:
        self.needs_input = True
        self._begun = False
        self._rest = b""
        self._inflate = zlib.decompressobj()

    @property
    def complete(self) -> bool:
        return self._inflate.eof or not (self._begun or self._rest)

    def decompress(self, data: bytes) -> bytes:
        data = self._rest + data
        self._rest = b""
        if not self._begun and not self._begin(data):
            return b""
        if self._inflate.eof and not self._next_member(data):
            return b""
        try:
            decoded = self._inflate.decompress(data, OUTPUT_PIECE)
        except zlib.error:
            raise MalformedBody(f"the body is not valid {self.name}") from None
        self._rest = self._inflate.unconsumed_tail or self._inflate.unused_data
        self.needs_input = not self._rest and len(decoded) < OUTPUT_PIECE
        return decoded

    def _begin(self, data: bytes) -> bool:
        """Choose the format by the first two bytes; False while they are missing."""
        if len(data) < 2:
            self._rest = data
            return False
        self._begun = True
        if data[0] & 0x8F != 0x08 or (data[0] << 8 | data[1]) % 31:
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        return True

    def _next_member(self, data: bytes) -> bool:
        """Begin the member that follows a complete one; False if none has to."""
        self.needs_input = True
        if data:
            raise MalformedBody(f"data after the end of the {self.name} body")
        return False


class _Gzip(_Zlib):
    """The format ``gzip``: members in a row, and zeros that tape drives leave."""

    name = "gzip"

    def _begin(self, data: bytes) -> bool:
        self._begun = self._begun or bool(data)
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        return self._begun

    def _next_member(self, data: bytes) -> bool:
        self.needs_input = True
        if not data.strip(b"\0"):
            return False
        return self._begin(data.lstrip(b"\0"))


class _Brotli:
    def __init__(self) -> None:
        import brotli  # type: ignore[import-untyped] # has no stubs

        self.needs_input = True
        self._begun = False
        self._error: type[Exception] = brotli.error
        self._brotli = brotli.Decompressor()

    @property
    def complete(self) -> bool:
        return not self._begun or bool(self._brotli.is_finished())

    def decompress(self, data: bytes) -> bytes:
        self._begun = self._begun or bool(data)
        try:
            decoded: bytes = self._brotli.process(
                data, output_buffer_limit=OUTPUT_PIECE
            )
        except self._error:
            raise MalformedBody("the body is not valid br") from None
        # Output may be held back also when more data would be accepted.
        self.needs_input = bool(
            self._brotli.is_finished()
            or (not decoded and self._brotli.can_accept_more_data())
        )
        return decoded


class _Zstandard:
    def __init__(self) -> None:
        from backports import zstd

        self.needs_input = True
        self._begun = False
        self._rest = b""
        self._zstd = zstd
        self._frame = self._new_frame()

    @property
    def complete(self) -> bool:
        return self._frame.eof or not self._begun

    def decompress(self, data: bytes) -> bytes:
        data = self._rest + data
        self._rest = b""
        if self._frame.eof:
            if not data:
                self.needs_input = True
                return b""
            self._frame = self._new_frame()
        self._begun = self._begun or bool(data)
        try:
            decoded = self._frame.decompress(data, OUTPUT_PIECE)
        except self._zstd.ZstdError as error:
            raise _zstd_fault(str(error)) from None
        self._rest = self._frame.unused_data
        self.needs_input = not self._rest and (
            self._frame.eof or self._frame.needs_input
        )
        return decoded

    def _new_frame(self) -> ZstdDecompressor:
        window = int(self._zstd.DecompressionParameter.window_log_max)
        return self._zstd.ZstdDecompressor(options={window: ZSTD_WINDOW_LOG})


def _zstd_fault(reason: str) -> CodingError:
    # libzstd's words for a later version's frame, a window over the limit, a frame that
    # needs a dictionary.
    if any(word in reason for word in ("Unsupported", "too much memory", "Dictionary")):
        return UnsupportedCoding("the zstd body uses an unsupported frame format")
    return MalformedBody("the body is not valid zstd")


def _shown(name: str) -> str:
    return repr(name[:40]) if name.isascii() and name.isprintable() else "(unprintable)"


_CODECS: dict[str, type[Codec]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Zlib,
    "br": _Brotli,
    "zstd": _Zstandard,
}
