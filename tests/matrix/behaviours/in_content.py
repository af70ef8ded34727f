"""A stream after its first content: a failure can only end the answer."""

from __future__ import annotations

import json
from typing import Any

from tests.matrix.formats import CALLED, PIECES, SAID, TEXT, TOOL, Item, put
from tests.matrix.replies import Reply

from . import SSE, Case, behaviour

STREAMED = "streamed"
JSON_FRAMED = ("openai", "anthropic", "gemini", "ollama")
TWICE = "".join((*PIECES[:2], PIECES[1], *PIECES[2:]))


@behaviour("content-then-end", STREAMED)
def _(case: Case) -> Reply:
    return case.stream(case.begun())


@behaviour("content-then-close", STREAMED)
def _(case: Case) -> Reply:
    return case.stream(case.begun(), framing="close", end="close")


@behaviour("content-then-cut", STREAMED)
def _(case: Case) -> Reply:
    return case.stream(case.begun(), cut=True, end="close")


@behaviour("content-then-reset", STREAMED)
def _(case: Case) -> Reply:
    return case.stream(case.begun(), cut=True, end="reset")


@behaviour("content-then-stall", STREAMED)
def _(case: Case) -> Reply:
    return case.stream(case.begun(), cut=True, end="stall")


@behaviour("all-content-then-end", STREAMED)
def _(case: Case) -> Reply:
    return case.stream(case.begun(len(PIECES)))


@behaviour("all-content-then-cut", STREAMED)
def _(case: Case) -> Reply:
    return case.stream(case.begun(len(PIECES)), cut=True, end="close")


@behaviour("event-cut-in-half", STREAMED)
def _(case: Case) -> Reply:
    half = case.form.frame(case.rest()[0])
    return case.stream([*case.begun(), half[: len(half) // 2]], cut=True, end="close")


@behaviour("event-cut-in-half-and-end", STREAMED)
def _(case: Case) -> Reply:
    half = case.form.frame(case.rest()[0])
    return case.stream([*case.begun(), half[: len(half) // 2]])


@behaviour("event-cut-in-a-character", STREAMED, upstreams=JSON_FRAMED)
def _(case: Case) -> Reply:
    last = case.form.frame(case.items[len(case.begun(3))])
    at = last.index("🎉".encode()) + 2
    return case.stream([*case.begun(3), last[:at]])


@behaviour("chunk-size-garbled-in-content", STREAMED)
def _(case: Case) -> Reply:
    good = b"".join(case.form.stream(case.begun()))
    steps = [b"%x\r\n%b\r\n" % (len(good), good), b"zz\r\n"]
    fields = (("transfer-encoding", "chunked"),)
    return case.stream(steps, framing="none", fields=fields, end="close").but(
        plain=good
    )


@behaviour("slow-content", STREAMED)
def _(case: Case) -> Reply:
    steps: list[Any] = []
    for item in case.items:
        steps += [item, 0.7]
    return case.stream(steps)


@behaviour("byte-by-byte", STREAMED)
def _(case: Case) -> Reply:
    body = case.bytes()
    steps: list[Any] = []
    for at in range(0, len(body), 97):
        steps += [body[at : at + 97], 0.05]
    return case.stream(steps)


@behaviour("endless-content", STREAMED, text="".join(PIECES[:2]) + PIECES[1] * 100)
def _(case: Case) -> Reply:
    more = case.form.frame(case.begun()[-1])
    return case.stream(case.begun()).but(endless=(0.5, more))


@behaviour("endless-comments-in-content", STREAMED, upstreams=SSE)
def _(case: Case) -> Reply:
    return case.stream(case.begun()).but(endless=(0.5, b": still here\n\n"))


# Errors.


@behaviour("error-in-content", STREAMED)
def _(case: Case) -> Reply:
    return case.stream([*case.begun(), case.form.error_item()])


@behaviour("error-in-content-and-more", STREAMED)
def _(case: Case) -> Reply:
    return case.stream([*case.begun(), case.form.error_item(), *case.rest()])


@behaviour("error-in-content-rate-limit", STREAMED)
def _(case: Case) -> Reply:
    return case.stream([*case.begun(), case.form.error_item(429)])


@behaviour("error-in-content-as-text", STREAMED, upstreams=JSON_FRAMED)
def _(case: Case) -> Reply:
    return _with(case, {"error": SAID, "type": "error"})


@behaviour("error-in-content-of-another-shape", STREAMED, upstreams=JSON_FRAMED)
def _(case: Case) -> Reply:
    other = {"error": {"message": SAID, "type": "x", "code": 500}}
    if case.form.name == "openai":
        other = {"object": "error", "message": SAID, "code": 500}
    return case.stream([*case.begun(), Item("x", other, "error"), *case.rest()])


@behaviour("error-in-content-named-only", STREAMED, upstreams=("openai", "anthropic"))
def _(case: Case) -> Reply:
    """An event whose name alone says that it is an error."""
    data = json.dumps({"message": SAID}).encode()
    return case.stream([*case.begun(), b"event: error\ndata: " + data + b"\n\n"])


@behaviour("error-in-content-unframed", STREAMED, upstreams=SSE)
def _(case: Case) -> Reply:
    bare = json.dumps(case.form.error(500)).encode()
    return case.stream([*case.begun(), bare + b"\n\n"])


@behaviour("error-in-content-html", STREAMED, upstreams=SSE)
def _(case: Case) -> Reply:
    return case.stream([*case.begun(), b"<html>502 Bad Gateway</html>\n\n"])


@behaviour("choice-with-error", STREAMED, upstreams=("openai",))
def _(case: Case) -> Reply:
    error = {"code": 502, "message": SAID}
    broken = put(case.items[-3].data, ("choices", 0, "error"), error)
    broken = put(broken, ("choices", 0, "finish_reason"), "error")
    return case.stream([*case.begun(), Item("x", broken), *case.items[-2:]])


# What cannot be read.


def _with(case: Case, data: Any) -> Reply:
    return case.stream([*case.begun(), Item("x", data), *case.rest()])


def _instead(case: Case, data: Any) -> Reply:
    """Return the stream with ``data`` in the place of the third content."""
    third = case.rest()[0]
    spoilt = Item(third.kind, data, third.name)
    return case.stream([*case.begun(), spoilt, *case.rest(3)])


@behaviour("event-not-json", STREAMED, upstreams=JSON_FRAMED)
def _(case: Case) -> Reply:
    return _instead(case, b"what?")


@behaviour("event-json-cut", STREAMED)
def _(case: Case) -> Reply:
    return _instead(case, case.form.payload(case.rest()[0])[:-5])


@behaviour("event-json-doubled", STREAMED)
def _(case: Case) -> Reply:
    return _instead(case, case.form.payload(case.rest()[0]) * 2)


@behaviour("event-not-utf8", STREAMED)
def _(case: Case) -> Reply:
    return _instead(case, case.form.payload(case.rest()[0]).replace(b"wor", b"\xe9wor"))


@behaviour("event-with-control-character", STREAMED, upstreams=JSON_FRAMED)
def _(case: Case) -> Reply:
    return _instead(case, case.form.payload(case.rest()[0]).replace(b"wor", b"\x01wor"))


@behaviour("event-ping", STREAMED, upstreams=("openai",))
def _(case: Case) -> Reply:
    return _with(case, b"ping")


@behaviour("event-null", STREAMED, upstreams=JSON_FRAMED)
def _(case: Case) -> Reply:
    return _with(case, None)


@behaviour("event-a-number", STREAMED, upstreams=JSON_FRAMED)
def _(case: Case) -> Reply:
    return _with(case, 42)


@behaviour("event-a-list", STREAMED, upstreams=JSON_FRAMED)
def _(case: Case) -> Reply:
    return _instead(case, [case.rest()[0].data])


@behaviour("event-empty-object", STREAMED, upstreams=JSON_FRAMED)
def _(case: Case) -> Reply:
    return _with(case, {})


@behaviour("event-of-unknown-type", STREAMED)
def _(case: Case) -> Reply:
    more = Item("x", {"type": "vendor.progress", "percent": 50}, "vendorProgress")
    return case.stream([*case.begun(), more, *case.rest()])


@behaviour("delta-of-unknown-type", STREAMED, upstreams=("anthropic", "converse"))
def _(case: Case) -> Reply:
    third = case.rest()[0]
    return _instead(case, put(third.data, ("delta",), {"type": "hologram", "x": "y"}))


@behaviour("text-a-number", STREAMED, text=TEXT.replace(PIECES[2], "42"))
def _(case: Case) -> Reply:
    third = case.rest()[0]
    return _instead(case, put(third.data, case.form.piece, 42))


@behaviour("text-an-object", STREAMED)
def _(case: Case) -> Reply:
    third = case.rest()[0]
    return _instead(case, put(third.data, case.form.piece, {"a": 1}))


@behaviour("answers-null", STREAMED, upstreams=("openai", "gemini"))
def _(case: Case) -> Reply:
    return _with(case, put(case.rest()[0].data, case.form.item_answers, None))


@behaviour("answers-empty", STREAMED, upstreams=("openai", "gemini"))
def _(case: Case) -> Reply:
    return _with(case, put(case.rest()[0].data, case.form.item_answers, []))


@behaviour("answers-an-object", STREAMED, upstreams=("openai", "gemini"))
def _(case: Case) -> Reply:
    third = case.rest()[0].data
    answers = third[case.form.item_answers[0]][0]
    return _instead(case, put(third, case.form.item_answers, answers))


@behaviour(
    "event-too-large",
    STREAMED,
    large=True,
    upstreams=("openai", "ollama"),
    clients=("openai", "ollama"),
)
def _(case: Case) -> Reply:
    return case.stream([*case.begun(), b"data: " + b"x" * 40_000_000])


# What is odd and means something.


def _change_third(case: Case, path: Any, value: Any) -> Reply:
    return _instead(case, put(case.rest()[0].data, path, value))


@behaviour("index-null", STREAMED, upstreams=("openai", "gemini"))
def _(case: Case) -> Reply:
    return _change_third(case, (case.form.item_answers[0], 0, "index"), None)


@behaviour("index-as-text", STREAMED, upstreams=("openai",))
def _(case: Case) -> Reply:
    return _change_third(case, ("choices", 0, "index"), "0")


@behaviour("id-changes", STREAMED, upstreams=("openai", "gemini"))
def _(case: Case) -> Reply:
    return _change_third(case, case.form.id, "another")


@behaviour("id-a-number", STREAMED, upstreams=("openai", "gemini"))
def _(case: Case) -> Reply:
    return _change_third(case, case.form.id, 7)


@behaviour("model-missing", STREAMED, upstreams=("openai", "ollama"))
def _(case: Case) -> Reply:
    third = case.rest()[0].drop(("model",))
    return _instead(case, third.data)


@behaviour("nan", STREAMED)
def _(case: Case) -> Reply:
    third = dict(case.rest()[0].data) | {"x_score": float("nan")}
    return _instead(case, json.dumps(third).encode())


@behaviour("usage-everywhere", STREAMED, upstreams=("openai",))
def _(case: Case) -> Reply:
    usage = case.items[-2].data["usage"]
    return case.stream(
        [
            item.put(("usage",), usage) if isinstance(item.data, dict) else item
            for item in case.items
        ]
    )


def _usage(name: str, value: Any) -> None:
    @behaviour(f"usage-{name}", STREAMED, upstreams=("openai", "gemini", "converse"))
    def _(case: Case) -> Reply:
        items = case.items
        at = max(
            at for at, item in enumerate(items) if item.kind in ("finish", "usage")
        )
        items[at] = items[at].put(case.form.usage, value)
        return case.stream(items)


_usage("null", None)
_usage("empty", {})
_usage("text", "many")
_usage("list", [1, 2])


@behaviour("usage-missing", STREAMED)
def _(case: Case) -> Reply:
    form, items = case.form, [item for item in case.items if item.kind != "usage"]
    items = [
        item.drop(form.usage)
        if item.kind == "finish" and form.usage[0] in item.data
        else item
        for item in items
    ]
    return case.stream(items)


@behaviour("lone-surrogate", STREAMED, text=TEXT.replace("wor", "�wor"))
def _(case: Case) -> Reply:
    third = case.form.payload(case.rest()[0])
    return _instead(case, third.replace(b"wor", rb"\ud83dwor"))


@behaviour("surrogates-escaped", STREAMED)
def _(case: Case) -> Reply:
    items = [
        Item(item.kind, json.dumps(item.data).encode(), item.name)
        if isinstance(item.data, dict) and case.form.name != "anthropic"
        else item
        for item in case.items
    ]
    return case.stream(items)


@behaviour("content-doubled", STREAMED, text=TWICE)
def _(case: Case) -> Reply:
    return case.stream([*case.begun(), case.begun()[-1], *case.rest()])


@behaviour("content-empty-between", STREAMED)
def _(case: Case) -> Reply:
    return case.stream(
        [*case.begun(), case.begun()[-1].put(case.form.piece, ""), *case.rest()]
    )


@behaviour("text-null-between", STREAMED, upstreams=("openai",))
def _(case: Case) -> Reply:
    return case.stream(
        [*case.begun(), case.begun()[-1].put(case.form.piece, None), *case.rest()]
    )


@behaviour("role-again", STREAMED, upstreams=("openai",))
def _(case: Case) -> Reply:
    return case.stream([*case.begun(), case.items[0], *case.rest()])


@behaviour("content-in-parts", STREAMED, upstreams=("openai",))
def _(case: Case) -> Reply:
    parts = [{"type": "text", "text": PIECES[2]}]
    return _change_third(case, case.form.piece, parts)


@behaviour("second-message-begins", STREAMED, upstreams=("anthropic",))
def _(case: Case) -> Reply:
    return case.stream([*case.begun(), case.items[0], *case.rest()])


@behaviour("delta-of-unopened-block", STREAMED, upstreams=("anthropic",))
def _(case: Case) -> Reply:
    return _change_third(case, ("index",), 5)


@behaviour("block-not-closed", STREAMED, upstreams=("anthropic",))
def _(case: Case) -> Reply:
    return case.stream([item for item in case.items if item.kind != "close"])


# Calls of tools.

PIECEMEAL = ("openai", "anthropic", "converse")
"""Dialects in which arguments come in pieces."""


def _calling(case: Case, *deltas: dict[str, Any]) -> Reply:
    items = [case.items[0]]
    for delta in deltas:
        data = put(case.items[1].data, ("choices", 0, "delta"), {"tool_calls": [delta]})
        items.append(Item("content", data))
    finish = case.items[-3].put(case.form.piece_end, "tool_calls")
    return case.stream([*items, finish, *case.items[-2:]])


def _tool(name: str, *deltas: dict[str, Any]) -> None:
    @behaviour(name, STREAMED, upstreams=("openai",), text="", calls=CALLED)
    def _(case: Case) -> Reply:
        return _calling(case, *deltas)


def _call(
    name: str | None = None, arguments: Any = None, **more: Any
) -> dict[str, Any]:
    function = {}
    if name is not None:
        function["name"] = name
    if arguments is not None:
        function["arguments"] = arguments
    return {"index": 0, "function": function} | more


_BEGUN = {"id": "call_1", "type": "function"}


@behaviour("tool-call", STREAMED, text="", calls=CALLED)
def _(case: Case) -> Reply:
    return case.stream(case.form.calling_items())


@behaviour("tool-call-then-end", STREAMED, text="")
def _(case: Case) -> Reply:
    """The response ends after the arguments, before the finish reason."""
    items = case.form.calling_items()
    return case.stream(items[: len(case.before("finish", items))])


@behaviour("tool-call-then-error", STREAMED, text="")
def _(case: Case) -> Reply:
    items = case.form.calling_items()
    return case.stream(
        [*items[: len(case.before("finish", items))], case.form.error_item()]
    )


@behaviour("tool-call-cut", STREAMED, text="", upstreams=PIECEMEAL)
def _(case: Case) -> Reply:
    """The connection is closed within the arguments."""
    items = case.form.calling_items()
    begun = items[: len(case.before("content", items)) + 2]
    return case.stream(begun, cut=True, end="close")


@behaviour("tool-call-opened", STREAMED, text="", upstreams=PIECEMEAL)
def _(case: Case) -> Reply:
    """The connection is closed after the name, before any arguments."""
    items = case.form.calling_items()
    begun = items[: len(case.before("content", items)) + 1]
    return case.stream(begun, cut=True, end="close")


_tool("tool-call-at-once", _call(TOOL, '{"city": "Oslo"}', **_BEGUN))
_tool("tool-arguments-an-object", _call(TOOL, {"city": "Oslo"}, **_BEGUN))
_tool(
    "tool-name-later",
    _call("", "", **_BEGUN),
    _call(TOOL, '{"city": "Oslo"}'),
)
_tool("tool-id-a-number", _call(TOOL, '{"city": "Oslo"}', id=7))
_tool("tool-id-missing", _call(TOOL, '{"city": "Oslo"}'))
_tool(
    "tool-id-repeated",
    _call(TOOL, "", **_BEGUN),
    _call(arguments='{"city": "Oslo"}', **_BEGUN),
)
