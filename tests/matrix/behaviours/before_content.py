"""A stream before its first content: the next target is still possible."""

from __future__ import annotations

import json

from tests.matrix.formats import FORMATS, Item
from tests.matrix.replies import Reply

from . import SSE, Case, behaviour

LIMITED = ("openai", "anthropic", "gemini", "converse")
"""Dialects in which an error says what kind of error it is."""
PORTAL = b"<!doctype html><html><body>Log in to the hotel's network</body></html>"
STREAMED = "streamed"
OPENING = ("anthropic", "openai", "converse")
"""Dialects with events before the content."""


@behaviour("stream-empty", STREAMED)
def _(case: Case) -> Reply:
    return case.stream([])


@behaviour("stream-cut-at-start", STREAMED)
def _(case: Case) -> Reply:
    return case.stream([], cut=True, end="close")


@behaviour("stream-reset-at-start", STREAMED)
def _(case: Case) -> Reply:
    return case.stream([], cut=True, end="reset")


@behaviour("stream-stalls-at-start", STREAMED)
def _(case: Case) -> Reply:
    return case.stream([], cut=True, end="stall")


@behaviour("first-content-late", STREAMED)
def _(case: Case) -> Reply:
    opening = case.before("content")
    return case.stream([*opening, 1.1, *case.items[len(opening) :]])


def _opened(case: Case) -> list[Item]:
    return case.before("content")


@behaviour("opening-then-end", STREAMED, upstreams=OPENING)
def _(case: Case) -> Reply:
    return case.stream(_opened(case))


@behaviour("opening-then-cut", STREAMED, upstreams=OPENING)
def _(case: Case) -> Reply:
    return case.stream(_opened(case), cut=True, end="close")


@behaviour("opening-then-reset", STREAMED, upstreams=OPENING)
def _(case: Case) -> Reply:
    return case.stream(_opened(case), cut=True, end="reset")


@behaviour("opening-then-stall", STREAMED, upstreams=OPENING)
def _(case: Case) -> Reply:
    return case.stream(_opened(case), cut=True, end="stall")


@behaviour("opening-then-error", STREAMED, upstreams=OPENING)
def _(case: Case) -> Reply:
    return case.stream([*_opened(case), case.form.error_item()])


@behaviour("opening-then-nonsense", STREAMED, upstreams=("anthropic", "openai"))
def _(case: Case) -> Reply:
    return case.stream([*_opened(case), Item("x", b"what?"), *case.rest(0)])


@behaviour("opening-then-end-marker", STREAMED, upstreams=("anthropic", "openai"))
def _(case: Case) -> Reply:
    return case.stream([*_opened(case), case.items[-1]])


@behaviour("error-first", STREAMED)
def _(case: Case) -> Reply:
    return case.stream([case.form.error_item()])


@behaviour("error-first-overloaded", STREAMED, upstreams=LIMITED[1:])
def _(case: Case) -> Reply:
    return case.stream([case.form.error_item(529)])


@behaviour("error-first-rate-limit", STREAMED, upstreams=LIMITED)
def _(case: Case) -> Reply:
    return case.stream([case.form.error_item(429)])


@behaviour("error-first-unframed", STREAMED, upstreams=SSE)
def _(case: Case) -> Reply:
    """The JSON of an error where the events should be."""
    return case.stream([json.dumps(case.form.error(500)).encode() + b"\n"])


@behaviour("error-first-labelled-json", STREAMED)
def _(case: Case) -> Reply:
    return case.whole(case.form.error(500))


@behaviour("portal-instead-of-stream", STREAMED)
def _(case: Case) -> Reply:
    return case.whole(PORTAL, content_type="text/html")


@behaviour("portal-labelled-as-stream", STREAMED)
def _(case: Case) -> Reply:
    return case.whole(PORTAL, content_type=case.form.stream_type)


@behaviour("whole-instead-of-stream", STREAMED, rewritten=True)
def _(case: Case) -> Reply:
    return case.whole(case.form.whole())


@behaviour("whole-labelled-as-stream", STREAMED, rewritten=True)
def _(case: Case) -> Reply:
    return case.whole(case.form.whole(), content_type=case.form.stream_type)


@behaviour("stream-of-another-dialect", STREAMED)
def _(case: Case) -> Reply:
    other = FORMATS["anthropic" if case.form.name == "openai" else "openai"]
    return case.stream(other.stream(other.items()))


@behaviour("stream-of-blank-lines", STREAMED, upstreams=(*SSE, "ollama"))
def _(case: Case) -> Reply:
    return case.stream([b"\n\n\n\n"])


@behaviour("stream-of-nonsense", STREAMED)
def _(case: Case) -> Reply:
    return case.stream([b"\x00\xff\x00 what?\n\n" * 3])


@behaviour("end-marker-only", STREAMED, upstreams=("openai", "anthropic"))
def _(case: Case) -> Reply:
    return case.stream([case.items[-1]])


@behaviour("comments-only", STREAMED, upstreams=SSE)
def _(case: Case) -> Reply:
    return case.stream([b": one\n\n", b": two\n\n"])


@behaviour("comments-endless-at-start", STREAMED, upstreams=SSE)
def _(case: Case) -> Reply:
    return case.stream([]).but(endless=(0.4, b": processing\n\n"))


@behaviour("pings-endless-at-start", STREAMED, upstreams=("anthropic",))
def _(case: Case) -> Reply:
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    return case.stream(case.before("open")).but(endless=(0.4, ping))


@behaviour("comments-then-answer", STREAMED, upstreams=SSE)
def _(case: Case) -> Reply:
    comment = b": OPENROUTER PROCESSING\n\n"
    return case.stream([comment, 0.4, comment, 0.4, *case.items])


@behaviour(
    "event-too-large-at-start",
    STREAMED,
    large=True,
    upstreams=("openai", "ollama"),
    clients=("openai", "ollama"),
)
def _(case: Case) -> Reply:
    return case.stream([b"data: " + b"x" * 40_000_000])


@behaviour("nothing-said", STREAMED, text="")
def _(case: Case) -> Reply:
    """A stream that finishes without any text: the model had nothing to say."""
    items = [item for item in case.items if item.kind != "content"]
    return case.stream(items)
