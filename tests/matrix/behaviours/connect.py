"""Before the first byte of an answer."""

from __future__ import annotations

from tests.matrix.replies import Reply

from . import Case, behaviour

NOTHING = Reply(raw=True)
BANNER = b"SSH-2.0-OpenSSH_9.6\r\n"
TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
HTTP2_SETTINGS = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"


@behaviour("connect-refused")
def _(case: Case) -> Reply:
    return NOTHING.but(where="refusing")


@behaviour("connect-timeout")
def _(case: Case) -> Reply:
    return NOTHING.but(where="full")


@behaviour("close-on-accept")
def _(case: Case) -> Reply:
    return NOTHING.but(read=False, end="close")


@behaviour("reset-on-accept")
def _(case: Case) -> Reply:
    return NOTHING.but(read=False, end="reset")


@behaviour("close-after-request")
def _(case: Case) -> Reply:
    return NOTHING.but(end="close")


@behaviour("reset-after-request")
def _(case: Case) -> Reply:
    return NOTHING.but(end="reset")


@behaviour("silence")
def _(case: Case) -> Reply:
    return NOTHING.but(end="stall")


@behaviour("answer-before-request")
def _(case: Case) -> Reply:
    """The answer to a request that has not been read, as of a server that is full."""
    return case.good(read=False, end="stall")


@behaviour("foreign-protocol")
def _(case: Case) -> Reply:
    return NOTHING.but(body=(BANNER,), end="close")


@behaviour("tls-on-plain-port")
def _(case: Case) -> Reply:
    return NOTHING.but(body=(TLS_ALERT,), end="close")


@behaviour("http2-on-http1-port")
def _(case: Case) -> Reply:
    return NOTHING.but(body=(HTTP2_SETTINGS,), end="stall")


@behaviour("body-without-head")
def _(case: Case) -> Reply:
    return NOTHING.but(body=(case.bytes(),), end="close")
