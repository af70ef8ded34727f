"""The bodies of errors: what the client is told of a 400, and that a 500 is none."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

from tests.matrix.formats import FORMATS, SAID, SECRET
from tests.matrix.replies import Reply

from . import Case, behaviour

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"

_VENDORS: dict[str, Any] = {
    "error-body-detail": {"detail": SAID},
    "error-body-detail-list": {
        "detail": [{"loc": ["body"], "msg": SAID, "type": "value_error"}]
    },
    "error-body-errors": {"errors": [{"message": SAID}]},
    "error-body-errors-of-text": {"errors": [SAID]},
    "error-body-message": {"object": "error", "message": SAID, "code": 400},
    "error-body-error-text": {"error": SAID},
    "error-body-error-and-message": {"error": "bad_request", "message": SAID},
    "error-body-list": [{"error": {"code": 400, "message": SAID, "status": "X"}}],
    "error-body-numeric-code": {"error": {"message": SAID, "code": 400, "type": 7}},
    "error-body-nested": {"error": {"message": json.dumps({"error": SAID})}},
    "error-body-plain": SAID.encode(),
    "error-body-null-message": {"error": {"message": None, "code": "x"}},
    "error-body-message-object": {"error": {"message": {"text": SAID}}},
    "error-body-null": None,
    "error-body-html": HTML,
    "error-body-empty": b"",
    "error-body-not-utf8": b'{"error":{"message":"caf\xe9 is closed"}}',
    "error-body-other-json": {"ok": False},
}


def _of_400(name: str, make: Callable[[Case], Any], **how: Any) -> None:
    @behaviour(name)
    def _(case: Case) -> Reply:
        return case.whole(make(case), status=400, **how)


def _fixed(body: Any) -> Callable[[Case], Any]:
    return lambda case: body


for name, body in _VENDORS.items():
    _of_400(name, _fixed(body))


@behaviour("error-body-of-another-dialect")
def _(case: Case) -> Reply:
    other = "anthropic" if case.form.name == "openai" else "openai"
    return case.whole(FORMATS[other].error(400), status=400)


_of_400("error-body-with-bom", lambda case: b"\xef\xbb\xbf" + _told(case))
_of_400("error-body-mislabelled", lambda case: _told(case), content_type="text/html")
_of_400("error-body-unlabelled", lambda case: _told(case), content_type=None)


def _told(case: Case, status: int = 400) -> bytes:
    return json.dumps(case.form.error(status)).encode()


@behaviour("error-body-compressed")
def _(case: Case) -> Reply:
    return case.whole(
        gzip.compress(_told(case)), status=400, fields=(("content-encoding", "gzip"),)
    )


@behaviour("error-body-as-event")
def _(case: Case) -> Reply | None:
    data = case.form.frame(case.form.error_item(400))
    if not case.form.sse:
        return None
    return case.whole(data, status=400, content_type="text/event-stream")


@behaviour("error-body-cut")
def _(case: Case) -> Reply:
    told = _told(case)
    head = (("content-length", str(len(told) + 100)),)
    return case.whole(told, status=400, fields=head, framing="none", end="close")


@behaviour("error-body-stalls")
def _(case: Case) -> Reply:
    told = _told(case)
    head = (("content-length", str(len(told) + 100)),)
    return case.whole(told, status=400, fields=head, framing="none", end="stall")


@behaviour("error-body-endless")
def _(case: Case) -> Reply:
    return case.whole(
        _told(case), status=400, framing="chunked", endless=(0.3, b" " * 2000)
    )


@behaviour("error-body-vast", large=True)
def _(case: Case) -> Reply:
    return case.whole(_told(case) + b" " * 1_000_000, status=400)


@behaviour("error-500-html")
def _(case: Case) -> Reply:
    return case.whole(HTML, status=500, content_type="text/html")


@behaviour("error-500-empty")
def _(case: Case) -> Reply:
    return case.whole(b"", status=500)


@behaviour("error-500-cut")
def _(case: Case) -> Reply:
    head = (("content-length", "1000"),)
    return case.whole(
        _told(case, 500), status=500, fields=head, framing="none", end="close"
    )


# What the upstream says about itself behind a status that says something else.


@behaviour("401-quoting-the-key")
def _(case: Case) -> Reply:
    message = f"Incorrect API key provided: {SECRET}. {SAID}"
    return case.whole(case.form.error(401, message), status=401)


@behaviour("400-quoting-a-key")
def _(case: Case) -> Reply:
    return case.whole(case.form.error(400, f"{SAID}: header {SECRET}"), status=400)


@behaviour("500-quoting-a-key")
def _(case: Case) -> Reply:
    return case.whole(case.form.error(500, f"{SAID}: header {SECRET}"), status=500)


@behaviour("400-wrong-key", upstreams=("gemini",))
def _(case: Case) -> Reply:
    return case.whole(case.form.refused_key(), status=400)


@behaviour("400-context-too-long", upstreams=("openai",))
def _(case: Case) -> Reply:
    detail = {
        "message": f"{SAID}: maximum context length is 8192 tokens",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    return case.whole({"error": detail}, status=400)


@behaviour("403-moderation", upstreams=("openai",))
def _(case: Case) -> Reply:
    metadata = {"reasons": ["violence"], "flagged_input": "hi", "provider_name": "x"}
    error = {
        "code": 403,
        "message": f"{SAID}: your input was flagged",
        "metadata": metadata,
    }
    return case.whole({"error": error}, status=403)


@behaviour("402-fewer-tokens", upstreams=("openai",))
def _(case: Case) -> Reply:
    message = (
        "This request requires more credits, or fewer max_tokens. You requested up to"
        f" 4096 tokens, but can only afford 100. {SAID}"
    )
    return case.whole({"error": {"code": 402, "message": message}}, status=402)


@behaviour("429-quota", upstreams=("openai",))
def _(case: Case) -> Reply:
    detail = {
        "message": SAID,
        "type": "insufficient_quota",
        "code": "insufficient_quota",
    }
    return case.whole({"error": detail}, status=429)
