"""The end marker, and what comes after the end of an answer."""

from __future__ import annotations

from tests.matrix.formats import Item
from tests.matrix.replies import Reply

from . import SSE, Case, behaviour

STREAMED = "streamed"
MARKED = ("openai", "anthropic")


@behaviour("end-marker-twice", STREAMED, upstreams=MARKED)
def _(case: Case) -> Reply:
    return case.stream([*case.items, case.items[-1]])


@behaviour("end-marker-late", STREAMED, upstreams=MARKED)
def _(case: Case) -> Reply:
    return case.stream([*case.items[:-1], 3.0, case.items[-1]])


@behaviour("end-marker-cut", STREAMED, upstreams=MARKED)
def _(case: Case) -> Reply:
    last = case.form.frame(case.items[-1])
    return case.stream([*case.items[:-1], last[: len(last) // 2]])


@behaviour("end-marker-without-blank-line", STREAMED, upstreams=MARKED)
def _(case: Case) -> Reply:
    last = case.form.frame(case.items[-1]).rstrip(b"\n")
    return case.stream([*case.items[:-1], last])


@behaviour("end-marker-without-line-end-and-cut", STREAMED, upstreams=MARKED)
def _(case: Case) -> Reply:
    last = case.form.frame(case.items[-1]).rstrip(b"\n")
    return case.stream([*case.items[:-1], last], cut=True, end="close")


@behaviour("end-marker-padded", STREAMED, upstreams=("openai",))
def _(case: Case) -> Reply:
    return case.stream([*case.items[:-1], b"data:  [DONE]  \n\n"])


@behaviour("end-marker-in-lower-case", STREAMED, upstreams=("openai",))
def _(case: Case) -> Reply:
    return case.stream([*case.items[:-1], b"data: [done]\n\n"])


@behaviour("end-marker-in-content", STREAMED, upstreams=MARKED)
def _(case: Case) -> Reply:
    """The end marker with half of the answer still to come."""
    return case.stream([*case.begun(), case.items[-1], *case.rest()])


@behaviour("error-after-end", STREAMED, upstreams=MARKED)
def _(case: Case) -> Reply:
    return case.stream([*case.items, case.form.error_item()])


@behaviour("content-after-end", STREAMED, upstreams=MARKED)
def _(case: Case) -> Reply:
    return case.stream([*case.items, case.begun()[-1]])


@behaviour("another-answer-after-end", STREAMED)
def _(case: Case) -> Reply:
    if not case.form.has_end_marker:
        # Without a marker the end of the response is the end of the answer.
        return case.stream([*case.items, 9.0])
    return case.stream([*case.items, *case.items])


@behaviour("comments-after-end", STREAMED, upstreams=SSE)
def _(case: Case) -> Reply:
    return case.stream([*case.items, b": bye\n\n", b": bye\n\n"])


@behaviour("comments-endless-after-end", STREAMED, upstreams=SSE)
def _(case: Case) -> Reply:
    return case.stream(case.items).but(endless=(0.4, b": still here\n\n"))


@behaviour("pings-endless-after-end", STREAMED, upstreams=("anthropic",))
def _(case: Case) -> Reply:
    ping = Item("x", {"type": "ping"})
    return case.stream(case.items).but(endless=(0.4, case.form.frame(ping)))


@behaviour("stall-after-end", STREAMED)
def _(case: Case) -> Reply:
    return case.stream(case.items, cut=True, end="stall")


@behaviour("close-after-end", STREAMED)
def _(case: Case) -> Reply:
    return case.stream(case.items, cut=True, end="close")


@behaviour("reset-after-end", STREAMED)
def _(case: Case) -> Reply:
    return case.stream(case.items, cut=True, end="reset")


@behaviour("garbage-after-end", STREAMED, upstreams=MARKED)
def _(case: Case) -> Reply:
    return case.stream([*case.items, b"\x00\xff what?"])


@behaviour("garbage-after-response")
def _(case: Case) -> Reply:
    """Bytes behind the response, which belong to no request."""
    body = case.bytes()
    fields = (("content-length", str(len(body))),)
    return case.good(framing="none", fields=fields).but(
        body=(body, b"HTTP/1.1 200 OK\r\n\r\n"), plain=body
    )


@behaviour("connection-close-after-response")
def _(case: Case) -> Reply:
    return case.good(fields=(("connection", "close"),)).but(end="close")
