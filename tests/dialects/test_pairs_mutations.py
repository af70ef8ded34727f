"""Streams with one event that is not as its API says: never whole with another text.

Any event of a recorded stream is mutated in any way: a byte is another one, the event is
cut off, a value is of another type, a member is missing. Each stream is read a second
time by ``READINGS``, plain functions that know nothing of the gateway: what is complete
holds what they read, and what they cannot read is never complete. Only what was counted
as unread may be missing.
"""

import json

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from gandalf.dialects import event_stream
from gandalf.dialects.conversation import Failed, Text, ToolCall
from gandalf.dialects.sse import EventTooLarge
from tests.fakes import bedrock_format

from .pairs_answers import of_upstream
from .pairs_clients import CLIENTS, UPSTREAMS, joined
from .pairs_upstreams import SAYS
from .test_pairs_answers import a_stream, read
from .test_pairs_cuts import ANSWER

CLIENT_NAMES = st.sampled_from(sorted(CLIENTS))
OTHERS = st.sampled_from(
    [None, "", "12", "x", 12, 1.5, True, False, [], {}, ["x"], {"x": 1}, [None]]
)


class Unreadable(Exception):
    """A reading cannot tell what an event says."""


# Readings: text and arguments in each event, from its JSON.


def text_at(value, *path):
    """The text at ``path``; what is empty or not there says nothing."""
    for name in path:
        if value in (None, "", [], {}):
            return ""
        if not isinstance(value, dict):
            raise Unreadable
        value = value.get(name)
    if value in (None, "", [], {}):
        return ""
    if not isinstance(value, str):
        raise Unreadable
    return value


def list_at(value, name):
    value = value.get(name) if isinstance(value, dict) else value
    if value in (None, "", [], {}):
        return []
    if not isinstance(value, list):
        raise Unreadable
    return value


def arguments_at(value, *path):
    for name in path[:-1]:
        value = value.get(name) or {}
        if not isinstance(value, dict):
            raise Unreadable
    value = value.get(path[-1])
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    return text_at({"x": value}, "x")


def object_at(value, name):
    """Arguments that should be an object; text is their JSON."""
    given = value.get(name)
    if given in (None, "", [], {}):
        return ""
    if not isinstance(given, str | dict):
        raise Unreadable
    return given if isinstance(given, str) else json.dumps(given)


def openai(said):
    text = arguments = ""
    for choice in list_at(said, "choices"):
        delta = choice.get("delta") or {}
        text += text_at(delta, "content")
        for call in list_at(delta, "tool_calls"):
            arguments += arguments_at(call, "function", "arguments")
    return text, arguments


def anthropic(said):
    delta = said.get("delta") or {}
    if not isinstance(delta, dict):
        raise Unreadable
    arguments = ""
    if delta.get("type") == "input_json_delta":
        arguments = arguments_at(delta, "partial_json")
    begun = text_at(said, "content_block", "text")
    return begun + text_at(delta, "text"), arguments


def gemini(said):
    text = arguments = ""
    for candidate in list_at(said, "candidates"):
        content = candidate.get("content") or {}
        for part in list_at(content, "parts"):
            if part.get("thought") in (True, "true"):
                continue
            text += text_at(part, "text")
            arguments += object_at(part.get("functionCall") or {}, "args")
    return text, arguments


def ollama(said):
    message = said.get("message") or {}
    arguments = ""
    for call in list_at(message, "tool_calls"):
        arguments += object_at(call.get("function") or {}, "arguments") or "{}"
    return text_at(message, "content"), arguments


def converse(said):
    delta = said.get("delta") or {}
    return text_at(delta, "text"), arguments_at(delta, "toolUse", "input")


READINGS = {
    "openai": openai,
    "anthropic": anthropic,
    "gemini": gemini,
    "ollama": ollama,
    "converse": converse,
}


# Events: what is before the JSON of each, the JSON, and what is behind.


def apart(upstream, event):
    if upstream == "converse":
        (message,) = event_stream.Decoder().feed(event)
        return dict(message.headers), message.payload
    if upstream == "ollama":
        return b"", event.rstrip(b"\n")
    head, _, rest = event.partition(b"data: ")
    return head + b"data: ", rest.rstrip(b"\r\n")


def together(upstream, head, payload):
    if upstream == "converse":
        return bedrock_format.frame(payload, head)
    return head + payload + (b"\n" if upstream == "ollama" else b"\n\n")


RECORDED = {
    upstream: [
        apart(upstream, event)
        for event in SAYS[upstream].stream(of_upstream(upstream, ANSWER), 5)
    ]
    for upstream in UPSTREAMS
}


def places(value, path=()):
    """Where a value stands, and each that is in it."""
    yield path
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    for name, each in inner:
        yield from places(each, (*path, name))


def changed(value, path, change):
    """``value`` with what ``change`` makes of the container and the name at ``path``."""
    made = json.loads(json.dumps(value))
    inner = made
    for name in path[:-1]:
        inner = inner[name]
    change(inner, path[-1])
    return made


@st.composite
def mutations(draw, payload):
    """Another payload."""
    kind = draw(st.sampled_from(["flip", "cut", "type", "removed"]))
    place = draw(st.integers(1, len(payload) - 1))
    if kind == "flip":
        flipped = payload[place] ^ (1 << draw(st.integers(0, 7)))
        return payload[:place] + bytes([flipped]) + payload[place + 1 :]
    if kind == "cut" or not payload.startswith(b"{"):
        return payload[:place]
    said = json.loads(payload)
    path = draw(st.sampled_from([each for each in places(said) if each]))
    if kind == "removed":
        return json.dumps(changed(said, path, lambda inner, name: inner.pop(name)))
    other = draw(OTHERS)
    return json.dumps(
        changed(said, path, lambda inner, name: inner.__setitem__(name, other))
    )


@st.composite
def mutated(draw, upstream):
    """A recorded stream with one payload that is another one."""
    events = list(RECORDED[upstream])
    place = draw(st.integers(0, len(events) - 1))
    head, payload = events[place]
    other = draw(mutations(payload))
    events[place] = head, other.encode() if isinstance(other, str) else other
    return events


def reading(upstream, events):
    """Text and arguments of the whole stream; None if it cannot be told."""
    text = arguments = ""
    for _, payload in events:
        try:
            said = json.loads(payload, strict=False)
            more = READINGS[upstream](said)
        except (ValueError, Unreadable, AttributeError, TypeError):
            if payload.strip() in (b"[DONE]", b""):
                continue
            return None
        text, arguments = text + more[0], arguments + more[1]
        if upstream == "ollama" and said.get("done") in (True, "true"):
            break
    return text, parsed(arguments or "{}")


def parsed(arguments):
    try:
        return json.loads(arguments, strict=False)
    except ValueError:
        return arguments


WHOLE = {upstream: reading(upstream, RECORDED[upstream]) for upstream in UPSTREAMS}


def understood(client, upstream, said):
    """Text and arguments that the client has, if it has a whole answer; else None.

    Also None if it was counted that something was left out.
    """
    stream = a_stream(client, upstream)
    try:
        shown = stream.feed(said) + stream.flush()
    except EventTooLarge:
        return None
    complete = stream.failed is None and (stream.done or stream.finished(1))
    if not complete or stream.unread:
        return None
    events = read(client, shown + stream.ending)
    if any(isinstance(event, Failed) for event in events):
        return None
    choice, _ = joined(events)
    texts = [part.text for part in choice.parts if isinstance(part, Text)]
    calls = [part.arguments for part in choice.parts if isinstance(part, ToolCall)]
    return "".join(texts), parsed("".join(calls) or "{}")


@pytest.mark.parametrize("upstream", UPSTREAMS)
@settings(max_examples=250)
@given(data=st.data(), client=CLIENT_NAMES)
def test_no_mutated_event_makes_another_text_complete(upstream, data, client):
    events = data.draw(mutated(upstream))
    said = b"".join(together(upstream, *event) for event in events)

    seen = understood(client, upstream, said)

    note(b"\n".join(payload for _, payload in events))
    expected = reading(upstream, events)
    if client == "ollama" and expected and not isinstance(expected[1], dict):
        # Arguments that are no JSON are told as text there.
        seen = None
    assert seen in (None, WHOLE[upstream], expected)


@pytest.mark.parametrize("upstream", sorted(set(UPSTREAMS) - {"converse"}))
@settings(max_examples=150)
@given(data=st.data(), client=CLIENT_NAMES)
def test_no_flipped_byte_of_the_framing_loses_text(upstream, data, client):
    events = RECORDED[upstream]
    head, payload = events[data.draw(st.integers(0, len(events) - 1))]
    framed = together(upstream, head, payload)
    whole = b"".join(together(upstream, *event) for event in events)
    places = [*range(len(head)), *range(len(head) + len(payload), len(framed))]
    place = whole.index(framed) + data.draw(st.sampled_from(places))
    flipped = whole[place] ^ (1 << data.draw(st.integers(0, 7)))

    said = whole[:place] + bytes([flipped]) + whole[place + 1 :]

    seen = understood(client, upstream, said)
    note(said)
    assert seen in (None, WHOLE[upstream])
