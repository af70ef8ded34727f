"""Thinking that Anthropic has not sealed, left out of a body that goes to Anthropic.

A conversation may have been with another provider's model before. What that one thought
the client holds in blocks that the gateway has made: with a seal that is wrapped (see
``gandalf.dialects.signatures``), or with none where there was none. Anthropic refuses
a request with any such block (``Invalid `signature` in `thinking` block``), so they go,
and nothing else of the body changes, but for what thinking rules out: ``enabled`` wants
the assistant's last turn to begin with its thinking if it calls a tool.

Sources: https://platform.claude.com/docs/en/build-with-claude/extended-thinking and
https://github.com/anthropics/anthropic-sdk-python/issues/1598.
"""

from __future__ import annotations

import re

import msgspec

from gandalf.dialects import json_object
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.signatures import unwrap

_OWN = "anthropic"
_THINKING = ("thinking", "redacted_thinking")
# What a body has somewhere if there may be such a block in it. The first is how base64
# of a wrapped seal begins.
_WRAPPED = b'"Z2FuZGFsZi'
_UNSEALED = re.compile(rb'"signature"\s*:\s*""')


class _Block(msgspec.Struct):
    type: str = ""
    signature: str = ""
    data: str = ""


class _Message(msgspec.Struct):
    role: str = ""
    content: str | list[msgspec.Raw] = ""


class _Thinking(msgspec.Struct):
    type: str = ""


class _Top(msgspec.Struct):
    messages: list[msgspec.Raw]
    thinking: _Thinking | None = None


_decode_top = msgspec.json.Decoder(_Top).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_block = msgspec.json.Decoder(_Block).decode
_GOVERNED = json_object.Governed("messages", "thinking")


def without_foreign_thinking(body: bytes) -> bytes:
    """Return ``body`` without the thinking that no model of Anthropic's has sealed.

    One that cannot be read is returned as it is: what is wrong with it Anthropic says.
    """
    if _WRAPPED not in body and not _UNSEALED.search(body):
        return body
    try:
        return _cleaned(body)
    except UNREADABLE:
        return body


def _cleaned(body: bytes) -> bytes:
    top = _decode_top(body)
    kept = [message for raw in top.messages if (message := _message(raw))]
    if kept == [bytes(raw) for raw in top.messages]:
        return body
    edits = [(_place(body, "messages"), b"[%b]" % b",".join(kept))]
    enabled = top.thinking is not None and top.thinking.type == "enabled"
    if enabled and not _is_sealed(kept):
        edits.append((_place(body, "thinking"), b'{"type":"disabled"}'))
    return json_object.splice(body, edits)


def _place(body: bytes, name: str) -> json_object.Span:
    """Return where the value of a member stands that has been decoded already."""
    span = _GOVERNED.member(body, name)
    assert span is not None  # noqa: S101 - see above
    end = span.end or json_object.value_end(body, span.start)
    return json_object.Span(span.start, end)


def _message(raw: msgspec.Raw) -> bytes:
    """Return a message without such blocks; b"" if nothing is left of it."""
    content = _decode_message(raw).content
    if isinstance(content, str):
        return bytes(raw)
    kept = [block for block in content if not _is_foreign(_decode_block(block))]
    if len(kept) == len(content):
        return bytes(raw)
    if not kept:
        return b""
    fields = _decode_fields(raw)
    fields["content"] = msgspec.Raw(b"[%b]" % b",".join(map(bytes, kept)))
    return msgspec.json.encode(fields)


def _is_foreign(block: _Block) -> bool:
    if block.type not in _THINKING:
        return False
    seal = block.signature if block.type == "thinking" else block.data
    return not seal or unwrap(seal, _OWN)[0] != _OWN


def _is_sealed(messages: list[bytes]) -> bool:
    """Whether the last turn of the assistant's, if it calls tools, thinks first."""
    for raw in reversed(messages):
        message = _decode_message(raw)
        if message.role == "assistant":
            break
    else:
        return True
    if isinstance(message.content, str):
        return True
    types = [_decode_block(block).type for block in message.content]
    return "tool_use" not in types or types[0] in _THINKING
