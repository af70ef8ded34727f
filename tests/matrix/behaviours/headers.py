"""The header section of an answer."""

from __future__ import annotations

from tests.matrix.replies import Fields, Reply

from . import Case, behaviour


def _raw(case: Case, head: bytes, *, end: str = "close") -> Reply:
    return Reply(raw=True, body=(head,), end=end)


def _with(case: Case, *fields: tuple[str, str]) -> Reply:
    return case.good(fields=fields)


def _in_length(case: Case, fields: Fields, body: bytes | None = None) -> Reply:
    """Return the answer in a framing that ``fields`` declare."""
    reply = case.good()
    body = case.bytes() if body is None else body
    return reply.but(framing="none", fields=fields, body=(body,))


@behaviour("status-line-cut")
def _(case: Case) -> Reply:
    return _raw(case, b"HTTP/1.1 20")


@behaviour("status-line-garbled")
def _(case: Case) -> Reply:
    return _raw(case, b"HTTP/1.1 abc OK\r\n\r\n")


@behaviour("headers-cut")
def _(case: Case) -> Reply:
    return _raw(case, b"HTTP/1.1 200 OK\r\ncontent-type: application/js")


@behaviour("headers-reset")
def _(case: Case) -> Reply:
    return _raw(case, b"HTTP/1.1 200 OK\r\ncontent-type: application/js", end="reset")


@behaviour("headers-stall")
def _(case: Case) -> Reply:
    return _raw(case, b"HTTP/1.1 200 OK\r\ncontent-ty", end="stall")


@behaviour("headers-endless")
def _(case: Case) -> Reply:
    return Reply(
        raw=True, body=(b"HTTP/1.1 200 OK\r\n",), endless=(0.3, b"x-more: headers\r\n")
    )


@behaviour("headers-too-large", large=True)
def _(case: Case) -> Reply:
    return _with(case, *((f"x-{number}", "y" * 1000) for number in range(300)))


@behaviour("header-without-colon")
def _(case: Case) -> Reply:
    return _raw(case, b"HTTP/1.1 200 OK\r\nthis is no field\r\n\r\n")


@behaviour("headers-late")
def _(case: Case) -> Reply:
    return case.good(before=(0.7,))


@behaviour("interim-responses")
def _(case: Case) -> Reply:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    return case.good(before=(b"HTTP/1.1 100 Continue\r\n\r\n", interim))


@behaviour("interim-endless")
def _(case: Case) -> Reply:
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    return Reply(raw=True, endless=(0.3, interim))


@behaviour("switching-protocols")
def _(case: Case) -> Reply:
    head = b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    return _raw(case, head, end="stall")


@behaviour("http-1-0")
def _(case: Case) -> Reply:
    return case.good(version="1.0", framing="close")


@behaviour("lengths-conflict")
def _(case: Case) -> Reply:
    size = len(case.bytes())
    fields = (("content-length", str(size)), ("content-length", str(size + 1)))
    return _in_length(case, fields)


@behaviour("length-and-chunked")
def _(case: Case) -> Reply:
    fields = (("content-length", "5"), ("transfer-encoding", "chunked"))
    body = case.bytes()
    return _in_length(case, fields, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)).but(
        plain=body
    )


@behaviour("length-negative")
def _(case: Case) -> Reply:
    return _in_length(case, (("content-length", "-1"),))


@behaviour("transfer-coding-unknown")
def _(case: Case) -> Reply:
    return _in_length(case, (("transfer-encoding", "gzip, chunked"),))


@behaviour("fields-repeated")
def _(case: Case) -> Reply:
    return _with(case, ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("via", "proxy"))


@behaviour("fields-in-any-case")
def _(case: Case) -> Reply:
    kind = case.good().content_type or ""
    return case.good(content_type=None, fields=(("CoNtEnT-TyPe", kind),))


@behaviour("content-type-missing")
def _(case: Case) -> Reply:
    return case.good(content_type=None)


@behaviour("content-type-upper-case")
def _(case: Case) -> Reply:
    return case.good(content_type=(case.good().content_type or "").upper())


@behaviour("content-type-with-charset")
def _(case: Case) -> Reply:
    return case.good(content_type=f"{case.good().content_type}; charset=UTF-8")


@behaviour("content-type-text-plain")
def _(case: Case) -> Reply:
    return case.good(content_type="text/plain; charset=utf-8")


@behaviour("content-type-octet-stream")
def _(case: Case) -> Reply:
    return case.good(content_type="application/octet-stream")


@behaviour("content-type-html")
def _(case: Case) -> Reply:
    return case.good(content_type="text/html")


@behaviour("content-type-of-the-other-mode")
def _(case: Case) -> Reply:
    other = "application/json" if case.streamed else "text/event-stream"
    return case.good(content_type=other)
