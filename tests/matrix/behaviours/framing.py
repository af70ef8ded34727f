"""The framing of a good answer: HTTP's, the content coding's and the stream's."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

from tests.matrix.formats import Item
from tests.matrix.replies import Reply

from . import SSE, Case, behaviour

# HTTP.


@behaviour("chunked")
def _(case: Case) -> Reply:
    return case.good(framing="chunked")


@behaviour("until-close")
def _(case: Case) -> Reply:
    return case.good(framing="close")


@behaviour("tiny-chunks")
def _(case: Case) -> Reply:
    """Chunks that end in the middle of events, of strings and of characters."""
    body = case.bytes()
    return case.good(framing="chunked").but(
        body=tuple(body[at : at + 7] for at in range(0, len(body), 7))
    )


@behaviour("one-chunk")
def _(case: Case) -> Reply:
    return case.good(framing="chunked").but(body=(case.bytes(),))


@behaviour("trailers")
def _(case: Case) -> Reply:
    return case.good(framing="chunked", trailer=b"x-checksum: 1\r\nx-cost: 2\r\n")


@behaviour("chunk-extensions")
def _(case: Case) -> Reply:
    body = case.bytes()
    steps = (b"%x;name=value\r\n%b\r\n0;last\r\n\r\n" % (len(body), body),)
    fields = (("transfer-encoding", "chunked"),)
    return case.good(framing="none", fields=fields).but(body=steps, plain=body)


@behaviour("chunk-size-garbled")
def _(case: Case) -> Reply:
    fields = (("transfer-encoding", "chunked"),)
    return case.good(framing="none", fields=fields).but(
        body=(b"zz\r\n" + case.bytes(),), end="close", plain=b""
    )


# Content codings, although ``identity`` was asked for.


def _brotli(data: bytes) -> bytes:
    """Return ``data`` as one stored block of RFC 7932, and an empty last one."""
    head = (len(data) - 1) << 4 | 1 << 20
    return head.to_bytes(3, "little") + data + b"\x03"


def _zstd(data: bytes) -> bytes:
    """Return ``data`` as one raw block of RFC 8878."""
    block = (len(data) << 3 | 1).to_bytes(3, "little")
    size = len(data).to_bytes(4, "little")
    return b"\x28\xb5\x2f\xfd\xa0" + size + block + data


_CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip-in-any-case": ("GZip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate-raw": ("deflate", lambda data: zlib.compress(data, wbits=-15)),
    "br": ("br", _brotli),
    "zstd": ("zstd", _zstd),
    "identity": ("identity", bytes),
    "gzip-twice": ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
}


def _coded(case: Case, coding: str, body: bytes, **how: Any) -> Reply:
    fields = (("content-encoding", coding),)
    return case.good(fields=fields, **how).but(body=(body,), plain=case.bytes())


def _bomb() -> bytes:
    """Return the gzip of 300 MB of blank lines, but for its end."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(b"\n") + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush the same bytes are packed the same way.
    megabyte = packer.compress(b"\n" * 1_000_000) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + megabyte * 300


def _coding(name: str, coding: str, encode: Callable[[bytes], bytes]) -> None:
    @behaviour(f"coding-{name}")
    def _(case: Case) -> Reply:
        return _coded(case, coding, encode(case.bytes()))


for each, (label, encoder) in _CODINGS.items():
    _coding(each, label, encoder)


@behaviour("coding-gzip-in-pieces")
def _(case: Case) -> Reply:
    packed = gzip.compress(case.bytes())
    third = len(packed) // 3
    steps = (packed[:third], 0.5, packed[third : 2 * third], 0.5, packed[2 * third :])
    return _coded(case, "gzip", b"", framing="chunked").but(body=steps)


@behaviour("coding-gzip-cut")
def _(case: Case) -> Reply:
    if not case.streamed:
        packed = gzip.compress(case.bytes())
        return _coded(case, "gzip", packed[: len(packed) * 2 // 3])
    packer = zlib.compressobj(wbits=31)
    begun = packer.compress(b"".join(case.form.stream(case.begun())))
    begun += packer.flush(zlib.Z_SYNC_FLUSH)
    more = packer.compress(case.form.frame(case.rest()[0]))
    more += packer.flush(zlib.Z_SYNC_FLUSH)
    return _coded(case, "gzip", b"").but(body=(begun, more[: len(more) // 2]))


@behaviour("coding-gzip-spoilt", "whole")
def _(case: Case) -> Reply:
    packed = bytearray(gzip.compress(case.bytes()))
    packed[len(packed) // 2] ^= 0xFF
    return _coded(case, "gzip", bytes(packed))


@behaviour("coding-gzip-of-nothing-like-it")
def _(case: Case) -> Reply:
    return _coded(case, "gzip", case.bytes())


@behaviour(
    "coding-gzip-bomb", clients=("openai",), upstreams=("openai", "ollama"), large=True
)
def _(case: Case) -> Reply:
    return _coded(case, "gzip", _bomb())


@behaviour("coding-undeclared")
def _(case: Case) -> Reply:
    return case.good().but(body=(gzip.compress(case.bytes()),), plain=b"")


@behaviour("coding-unknown")
def _(case: Case) -> Reply:
    return _coded(case, "snappy", case.bytes())


# A stream's own framing.


def _lines(name: str, change: Callable[[bytes], bytes], upstreams: Any = SSE) -> None:
    @behaviour(f"events-{name}", "streamed", upstreams=upstreams)
    def _(case: Case) -> Reply:
        changed = change(case.bytes())
        return case.good().but(body=(changed,))


def _unix(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


_lines("with-lf", _unix)
_lines("with-crlf", lambda data: _unix(data).replace(b"\n", b"\r\n"))
_lines("with-cr", lambda data: _unix(data).replace(b"\n", b"\r"))
_lines("without-space", lambda data: data.replace(b"data: ", b"data:"))
_lines("with-bom", lambda data: b"\xef\xbb\xbf" + data)
_lines("with-ids", lambda data: data.replace(b"data: ", b"id: 7\ndata: "))
_lines("with-retry", lambda data: b"retry: 3000\n\n" + data)
_lines("with-blank-lines", lambda data: _unix(data).replace(b"\n\n", b"\n\n\n\n"))
_lines("with-comments", lambda data: _commented(data))
_lines("over-many-lines", lambda data: data.replace(b', "', b',\ndata: "', 3))
_lines("without-last-blank-line", lambda data: data.rstrip(b"\r\n"))
_lines("without-names", lambda data: _unnamed(data), ("anthropic",))
_lines("misnamed", lambda data: data.replace(b"event: ", b"event: x_"), ("anthropic",))
_lines("of-empty-data", lambda data: b"data:\n\n" + data)
_lines("padded", lambda data: data.replace(b"\n", b" " * 9 + b"\n", 1))


def _commented(data: bytes) -> bytes:
    data = _unix(data).replace(b"\n\n", b"\n\n: keep-alive\n\n")
    return b": open\n\n" + data.removesuffix(b": keep-alive\n\n")


def _unnamed(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"event:"))


@behaviour("lines-with-crlf", "streamed", upstreams=("ollama",))
def _(case: Case) -> Reply:
    return case.good().but(body=(case.bytes().replace(b"\n", b"\r\n"),))


@behaviour("lines-with-blank-ones", "streamed", upstreams=("ollama",))
def _(case: Case) -> Reply:
    return case.good().but(body=(case.bytes().replace(b"\n", b"\n\n"),))


@behaviour("lines-with-bom", "streamed", upstreams=("ollama",))
def _(case: Case) -> Reply:
    return case.good().but(body=(b"\xef\xbb\xbf" + case.bytes(),))


@behaviour("lines-without-last-end", "streamed", upstreams=("ollama",))
def _(case: Case) -> Reply:
    return case.good().but(body=(case.bytes().rstrip(b"\n"),))


@behaviour("frames-with-wrong-checksum", "streamed", upstreams=("converse",))
def _(case: Case) -> Reply:
    steps = list(case.stream(case.items).body)
    third = bytearray(steps[3])
    third[-1] ^= 0xFF
    steps[3] = bytes(third)
    return case.stream(steps)


@behaviour("frames-of-unknown-events", "streamed", upstreams=("converse",))
def _(case: Case) -> Reply:
    new = Item("new", {"later": True}, "somethingNew")
    return case.stream([*case.begun(), new, *case.rest()])
