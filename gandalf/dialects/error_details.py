"""Reads an upstream's error body, in whatever form its vendor writes it.

Compatible vendors, hostings and proxies do not keep to the error format of the dialect
that they speak, so every dialect reads all forms. The forms, each with a vendor that
sends it:

- ``{"error": {"message", "type", "code", "param"}}`` (OpenAI), ``{"type": "error",
  "error": {...}}`` (Anthropic), ``{"error": {"code", "message", "status", "details"}}``
  and a list of one such object (Gemini);
- ``{"error": "text"}`` (Ollama, TGI), ``{"error": ["text"]}`` (Hugging Face);
- ``{"message", "type", "code"}`` (vLLM, Cohere), ``{"message": {"detail": [...]}}``
  (Mistral), ``{"__type", "message"}`` or ``{"Message"}`` (AWS);
- ``{"detail": "text"}`` (NVIDIA), ``{"detail": [{"loc", "msg"}]}`` (FastAPI),
  ``{"title", "detail"}`` (RFC 9457), ``{"errors": [{"message"}]}`` (Cloudflare);
- ``error.metadata.raw``, the words of the provider behind (OpenRouter);
- plain text, and web pages of proxies in front.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

# As ``gandalf.dialects.base.UNREADABLE``, which imports this module.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# Longer messages quote the whole request or are no message.
MAX_MESSAGE = 2000
# Entries of a list of errors that are told; the rest repeats them.
MAX_LISTED = 5
# Nesting that is looked through: ``error.metadata.raw`` with an error of its own is 5.
MAX_DEPTH = 8

_TEXTS = (
    "message",
    "Message",
    "msg",
    "error",
    "errors",
    "detail",
    "details",
    "error_message",
    "errorMessage",
    "error_description",
    "status_msg",
    "faultstring",
    "fault",
    "base_resp",
    "title",
    "reason",
    "description",
)
_CODES = ("code", "error_code", "errorCode", "errorcode", "__type", "error_type")
# Members whose values say what kind of error it is; see ``refusal_rules``.
_KINDS = frozenset({*_CODES, "type", "status", "reason", "limit_source"})

_decode = msgspec.json.Decoder().decode
_TITLE = re.compile(r"(?is)<title[^>]*>(.*?)</title>")
_HEADING = re.compile(r"(?is)<h1[^>]*>(.*?)</h1>")
_REASON = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
_STATUS = re.compile(r"[A-Z][A-Z_]+")
_TAG = re.compile(r"(?s)<[^>]*>")


class ErrorDetails(NamedTuple):
    """The content of an error body."""

    message: str = ""
    """Empty if the body has none."""
    code: str | None = None
    param: str | None = None
    kinds: frozenset[str] = frozenset()
    """Every code, type and reason in the body, in lower case."""
    retry_delay: str | float | None = None
    """Wait that the body asks for in a member of its own (Gemini's RetryInfo)."""
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    """Header fields of the provider behind (OpenRouter's ``metadata.headers``)."""


def read_error(body: bytes) -> ErrorDetails:
    """Return the details of an upstream's error ``body``, whatever its form."""
    if not body.strip():
        return ErrorDetails()
    try:
        value = _decode(body)
    except _UNREADABLE:
        return ErrorDetails(_of_text(body))
    nodes = list(_nodes(value))
    message = _message(value) or _compact(value, body)
    return ErrorDetails(
        message=message[:MAX_MESSAGE],
        code=_code(value, nodes),
        param=_param(value, nodes),
        kinds=frozenset(_kinds(nodes)),
        retry_delay=next(
            (node["retryDelay"] for node in nodes if node.get("retryDelay")), None
        ),
        headers=_headers(nodes),
    )


def _of_text(body: bytes) -> str:
    text = body.decode("utf-8", "replace").lstrip("\ufeff").strip()
    if text.startswith("<") or "<html" in text[:1000].lower():
        found = _TITLE.search(text) or _HEADING.search(text)
        title = _plain(found[1]) if found else ""
        return f"a web page, {title!r}" if title else "a web page and no API error"
    return " ".join(text.split())[:MAX_MESSAGE]


def _plain(fragment: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", fragment)).split())[:200]


def _nodes(value: object, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield every object in ``value``, outer ones first."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from _nodes(member, depth + 1)
        if isinstance(raw := value.get("raw"), str):
            yield from _nodes(_behind(raw), depth + 1)
    elif isinstance(value, list):
        for member in value[:MAX_LISTED]:
            yield from _nodes(member, depth + 1)


def _message(value: object, depth: int = 0) -> str:
    if isinstance(value, str):
        return value.strip()
    if depth > MAX_DEPTH:
        return ""
    if isinstance(value, list):
        texts = [
            text for each in value[:MAX_LISTED] if (text := _message(each, depth + 1))
        ]
        return "; ".join(dict.fromkeys(texts))
    if not isinstance(value, dict):
        return ""
    if isinstance(value.get("error"), dict | list) and (
        text := _message(value["error"], depth + 1)
    ):
        return text
    for name in _TEXTS:
        if text := _message(value.get(name), depth + 1):
            return _with_place(text, value) + _words_behind(text, value)
    return ""


def _with_place(text: str, value: dict[str, Any]) -> str:
    """Return FastAPI's ``msg`` with the field that it is about."""
    place = value.get("loc")
    if not isinstance(place, list) or not place:
        return text
    return f"{'.'.join(str(part) for part in place if part != 'body')}: {text}"


def _words_behind(text: str, value: dict[str, Any]) -> str:
    """Return the words of the provider that OpenRouter called, if it tells them."""
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return ""
    raw = metadata.get("raw")
    words = _message(_behind(raw) if isinstance(raw, str) else raw)
    reasons = metadata.get("reasons")
    if isinstance(reasons, list) and not words:
        words = ", ".join(str(reason) for reason in reasons[:MAX_LISTED])
    return f" ({words[:MAX_MESSAGE]})" if words and words not in text else ""


def _behind(raw: str) -> object:
    try:
        return _decode(raw)
    except _UNREADABLE:
        return raw


def _compact(value: object, body: bytes) -> str:
    """Return the JSON itself: a form that is not known is told as it is."""
    return _of_text(body) if _says_something(value) else ""


def _says_something(value: object, depth: int = 0) -> bool:
    if isinstance(value, dict | list) and depth < MAX_DEPTH:
        members = value.values() if isinstance(value, dict) else value
        return any(_says_something(member, depth + 1) for member in members)
    return bool(value)


def _code(value: object, nodes: list[dict[str, Any]]) -> str | None:
    """Return the code: a word rather than an HTTP status, never a sentence (xAI)."""
    status = None
    for node in nodes:
        for name in _CODES:
            code = node.get(name)
            if not isinstance(code, str | int) or isinstance(code, bool) or not code:
                continue
            text = str(code).rpartition("#")[2]
            if text.isdigit() and len(text) == 3:
                status = status or text
            elif " " not in text:
                return text
    for name, word in (("reason", _REASON), ("status", _STATUS)):  # Google's
        for node in nodes:
            if isinstance(said := node.get(name), str) and word.fullmatch(said):
                return said
    return status


def _param(value: object, nodes: list[dict[str, Any]]) -> str | None:
    for node in nodes:
        if isinstance(param := node.get("param"), str) and param:
            return param
        if isinstance(param, list) and param:
            return ".".join(str(part) for part in param)
        if isinstance(place := node.get("loc"), list) and place:
            return ".".join(str(part) for part in place if part != "body") or None
        if isinstance(field := node.get("field"), str) and field:
            return field
    return None


def _kinds(nodes: list[dict[str, Any]]) -> Iterator[str]:
    for node in nodes:
        for name in _KINDS & node.keys():
            if isinstance(kind := node[name], str):
                yield kind.rpartition("#")[2].lower()


def _headers(nodes: list[dict[str, Any]]) -> dict[str, str]:
    for node in nodes:
        headers = node.get("headers")
        if isinstance(headers, dict):
            return {str(name).lower(): str(value) for name, value in headers.items()}
    return {}
