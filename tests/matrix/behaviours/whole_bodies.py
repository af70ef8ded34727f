"""The body of a whole answer with status 200."""

from __future__ import annotations

import json
from typing import Any

from tests.matrix.formats import ARGUMENTS, CALLED, FORMATS, PIECES, TEXT, drop, put
from tests.matrix.replies import Reply

from . import Case, behaviour

PORTAL = b"<!doctype html><html><body>Log in to the hotel's network</body></html>"

_NO_ANSWERS: dict[str, Any] = {
    "whole-empty-object": {},
    "whole-empty-list": [],
    "whole-null": None,
    "whole-text": "Hello",
    "whole-number": 42,
    "whole-other-json": {"ok": True, "data": [1, 2, 3]},
    "whole-no-bytes": b"",
    "whole-white-space": b" \r\n\r\n ",
    "whole-not-json": b"Hello, wide world!",
    "whole-captive-portal": PORTAL,
    "whole-error-text": {"error": "it broke inside"},
    "whole-error-object": {"error": {"message": "it broke inside", "code": 500}},
    "whole-errors-list": {"errors": [{"message": "it broke inside"}]},
    "whole-detail": {"detail": "it broke inside"},
    "whole-nested-too-deeply": b"[" * 100_000 + b"]" * 100_000,
}


def _no_answer(name: str, body: Any) -> None:
    @behaviour(name, "whole", large=isinstance(body, bytes) and len(body) > 100_000)
    def _(case: Case) -> Reply:
        return case.whole(body)


for each, value in _NO_ANSWERS.items():
    _no_answer(each, value)


@behaviour("whole-portal-labelled-html", "whole")
def _(case: Case) -> Reply:
    return case.whole(PORTAL, content_type="text/html")


@behaviour("whole-without-answers", "whole")
def _(case: Case) -> Reply:
    return case.whole(drop(case.form.whole(), case.form.answers))


@behaviour("whole-answers-null", "whole")
def _(case: Case) -> Reply:
    return case.with_value(case.form.answers, None)


@behaviour("whole-answers-of-another-type", "whole")
def _(case: Case) -> Reply:
    return case.with_value(case.form.answers, "Hello")


@behaviour("whole-answers-empty", "whole", upstreams=("openai", "gemini"))
def _(case: Case) -> Reply:
    return case.with_value(case.form.answers, [])


@behaviour("whole-error-of-its-dialect", "whole")
def _(case: Case) -> Reply:
    return case.whole(case.form.error(500))


@behaviour("whole-of-another-dialect", "whole")
def _(case: Case) -> Reply:
    other = "anthropic" if case.form.name == "openai" else "openai"
    return case.whole(FORMATS[other].whole())


@behaviour("whole-as-stream", "whole", rewritten=True)
def _(case: Case) -> Reply:
    return Case(case.form, streamed=True).good()


@behaviour("whole-json-cut", "whole")
def _(case: Case) -> Reply:
    return case.whole(case.bytes()[:-30])


@behaviour("whole-json-cut-in-text", "whole")
def _(case: Case) -> Reply:
    body = case.bytes()
    return case.whole(body[: body.index(b"wide")])


@behaviour("whole-length-too-large", "whole")
def _(case: Case) -> Reply:
    body = case.bytes()
    fields = (("content-length", str(len(body) + 10)),)
    return case.whole(body, fields=fields, framing="none", end="close")


@behaviour("whole-length-too-large-and-stall", "whole")
def _(case: Case) -> Reply:
    body = case.bytes()
    fields = (("content-length", str(len(body) + 10)),)
    return case.whole(body, fields=fields, framing="none", end="stall")


@behaviour("whole-length-too-small", "whole")
def _(case: Case) -> Reply:
    body = case.bytes()
    fields = (("content-length", str(len(body) - 10)),)
    return case.whole(body, fields=fields, framing="none", end="close")


@behaviour("whole-reset", "whole")
def _(case: Case) -> Reply:
    body = case.bytes()
    fields = (("content-length", str(len(body))),)
    return case.whole(body[:-30], fields=fields, framing="none", end="reset")


@behaviour("whole-stalls", "whole")
def _(case: Case) -> Reply:
    body = case.bytes()
    fields = (("content-length", str(len(body))),)
    return case.whole(body[:-30], fields=fields, framing="none", end="stall")


@behaviour("whole-chunked-cut", "whole")
def _(case: Case) -> Reply:
    return case.good(framing="chunked", cut=True, end="close")


@behaviour("whole-until-close-cut", "whole")
def _(case: Case) -> Reply:
    return case.whole(case.bytes()[:-30], framing="close")


@behaviour("whole-slow", "whole")
def _(case: Case) -> Reply:
    body = case.bytes()
    third = len(body) // 3
    steps = (body[:third], 0.7, body[third : 2 * third], 0.7, body[2 * third :])
    return case.good(framing="chunked").but(body=steps)


@behaviour("whole-endless", "whole")
def _(case: Case) -> Reply:
    return case.good(framing="chunked").but(body=(b"[",), endless=(0.5, b"1, "))


@behaviour("whole-white-space-while-working", "whole")
def _(case: Case) -> Reply:
    """Blank lines to keep a connection alive, before the JSON."""
    body = case.bytes()
    steps = (b"\n", 0.7, b"\n", 0.7, b"\n", body)
    return case.good(framing="chunked").but(body=steps)


@behaviour("whole-indented", "whole")
def _(case: Case) -> Reply:
    return case.whole(json.dumps(case.form.whole(), indent=2).encode())


@behaviour("whole-ascii", "whole")
def _(case: Case) -> Reply:
    return case.whole(json.dumps(case.form.whole(), ensure_ascii=True).encode())


@behaviour("whole-with-bom", "whole")
def _(case: Case) -> Reply:
    return case.whole(b"\xef\xbb\xbf" + case.bytes())


@behaviour("whole-utf-16", "whole")
def _(case: Case) -> Reply:
    return case.whole(case.bytes().decode().encode("utf-16"))


@behaviour("whole-not-utf8", "whole")
def _(case: Case) -> Reply:
    return case.whole(case.bytes().replace("é".encode(), b"\xe9"))


@behaviour("whole-garbage-behind", "whole")
def _(case: Case) -> Reply:
    return case.whole(case.bytes() + b"<!-- served by proxy -->")


@behaviour("whole-twice", "whole")
def _(case: Case) -> Reply:
    return case.whole(case.bytes() * 2)


@behaviour("whole-unknown-members", "whole")
def _(case: Case) -> Reply:
    more = {"x_vendor": {"a": [1, None, 2.5]}, "": 0}
    return case.whole(case.form.whole() | more)


@behaviour("whole-nan", "whole")
def _(case: Case) -> Reply:
    body = case.form.whole() | {"x_score": float("nan"), "x_more": float("-inf")}
    return case.whole(json.dumps(body).encode())


@behaviour("whole-lone-surrogate", "whole", text=f"{TEXT}�")
def _(case: Case) -> Reply:
    body = case.bytes().replace("🎉!".encode(), "🎉!".encode() + rb"\ud83d")
    return case.whole(body)


@behaviour("whole-text-empty", "whole", text="")
def _(case: Case) -> Reply:
    return case.good(pieces=("",))


@behaviour("whole-text-null", "whole", text="", upstreams=("openai",))
def _(case: Case) -> Reply:
    return case.with_value(case.form.text, None)


@behaviour("whole-text-a-number", "whole", text="42")
def _(case: Case) -> Reply:
    return case.with_value(case.form.text, 42)


@behaviour("whole-message-null", "whole", upstreams=("openai", "ollama"))
def _(case: Case) -> Reply:
    return case.with_value(case.form.text[:-1], None)


@behaviour("whole-text-in-parts", "whole", upstreams=("openai",))
def _(case: Case) -> Reply:
    parts = [{"type": "text", "text": each} for each in PIECES]
    return case.with_value(case.form.text, parts)


@behaviour("whole-choice-with-error", "whole", upstreams=("openai",))
def _(case: Case) -> Reply:
    error = {"code": 502, "message": "the provider disconnected"}
    return case.with_value(("choices", 0, "error"), error)


@behaviour("whole-id-missing", "whole", upstreams=("openai", "anthropic", "gemini"))
def _(case: Case) -> Reply:
    return case.whole(drop(case.form.whole(), case.form.id))


@behaviour("whole-id-a-number", "whole", upstreams=("openai", "anthropic", "gemini"))
def _(case: Case) -> Reply:
    return case.with_value(case.form.id, 7)


@behaviour("whole-model-missing", "whole", upstreams=("openai", "anthropic", "ollama"))
def _(case: Case) -> Reply:
    return case.whole(drop(case.form.whole(), ("model",)))


@behaviour("whole-created-a-text", "whole", upstreams=("openai",))
def _(case: Case) -> Reply:
    return case.with_value(("created",), "2025-01-01")


_USAGES: dict[str, Any] = {
    "null": None,
    "empty": {},
    "text": "many",
    "list": [],
    "negative": -5,
    "fractions": 2.5,
    "numbers-as-text": "2",
    "huge": 10**30,
}


@behaviour("whole-usage-missing", "whole")
def _(case: Case) -> Reply:
    return case.whole(drop(case.form.whole(), case.form.usage))


def _usage(name: str, value: Any) -> None:
    @behaviour(f"whole-usage-{name}", "whole")
    def _(case: Case) -> Reply:
        usage = case.form.whole()[case.form.usage[0]]
        spoilt = value
        if isinstance(usage, dict) and name in _NUMBERS:
            spoilt = {
                each: value if isinstance(count, int) else count
                for each, count in usage.items()
            }
        return case.with_value(case.form.usage, spoilt)


_NUMBERS = ("negative", "fractions", "numbers-as-text", "huge")

for each, value in _USAGES.items():
    _usage(each, value)


# Calls of tools.

_CALL = ("choices", 0, "message", "tool_calls", 0)


@behaviour("whole-tool-call", "whole", text="", calls=CALLED)
def _(case: Case) -> Reply:
    return case.whole(case.form.calling())


@behaviour(
    "whole-tool-arguments-an-object",
    "whole",
    upstreams=("openai",),
    text="",
    calls=CALLED,
)
def _(case: Case) -> Reply:
    path = (*_CALL, "function", "arguments")
    return case.whole(put(case.form.calling(), path, ARGUMENTS))


@behaviour(
    "whole-tool-id-a-number", "whole", upstreams=("openai",), text="", calls=CALLED
)
def _(case: Case) -> Reply:
    return case.whole(put(case.form.calling(), (*_CALL, "id"), 7))
