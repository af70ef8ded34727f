"""Any event of any stream that passes through, changed in any way.

An answer is complete only if all that came was JSON and said so; the client has the
upstream's bytes then, and else never an end marker.
"""

import itertools
import json

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from gandalf.config import Provider
from gandalf.dialects import anthropic, openai, sse
from gandalf.dialects.openai.passthrough import PassthroughCall
from gandalf.dialects.openai.responses import ResponsesStream
from gandalf.domain.errors import UpstreamError
from gandalf.pipeline.stream_body import StreamBody
from gandalf.providers.openai import OpenAI
from gandalf.providers.watch import Watch
from tests.fakes import ollama_format
from tests.pipeline.builders import an_exchange

from .pairs_clients import CALLS, CLIENTS
from .test_openai_responses import STREAM as RESPONSES
from .test_pairs_cuts import recorded

ENDS = {
    "openai": b"[DONE]",
    "anthropic": b'"message_stop"',
    "gemini": b'"finishReason"',
    "ollama": b'"done":true',
    "responses": b"response.completed",
}


# Of good ends that are followed by the end of the response alone.
OWN = (openai.DONE, anthropic.streams.STOP)


def a_follower(name):
    if name == "responses":
        return ResponsesStream(
            PassthroughCall(operation="responses", model="m", body=b"")
        )
    return CLIENTS[name].follow(CALLS[name])


def events_of(name):
    if name == "responses":
        return sse.split(RESPONSES)
    if name == "ollama":
        return ollama_format.chat_lines("Hello", " there", " you")
    return sse.split(recorded(name))


EVENTS = {name: events_of(name) for name in ENDS}
OTHERS = st.sampled_from(
    [None, True, 7, 1.5, "", "7", "error", [], {}, [None], {"a": 1}]
)


def places(value, path=()):
    """The paths of all members and elements of some JSON."""
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    else:
        return
    for name, each in inner:
        yield (*path, name)
        yield from places(each, (*path, name))


def with_json(event, change):
    """The event with its JSON changed in place."""
    start, end = event.index(b"{"), event.rindex(b"}") + 1
    value = json.loads(event[start:end])
    change(value)
    return (
        event[:start] + json.dumps(value, separators=(",", ":")).encode() + event[end:]
    )


@st.composite
def mutations(draw, name):
    """A stream of which one event is changed."""
    events = list(EVENTS[name])
    at = draw(st.integers(0, len(events) - 1))
    event = events[at]
    kind = draw(st.sampled_from(["flip", "cut", "type", "remove", "drop", "twice"]))
    if b"{" not in event and kind in ("type", "remove"):
        kind = "flip"
    if kind == "flip":
        place = draw(st.integers(0, len(event) - 1))
        flipped = event[place] ^ (1 << draw(st.integers(0, 7)))
        events[at] = event[:place] + bytes([flipped]) + event[place + 1 :]
    elif kind == "cut":
        ending = b"\n" if name == "ollama" else b"\n\n"
        events[at] = event[: draw(st.integers(0, len(event)))] + ending
    elif kind == "drop":
        del events[at]
    elif kind == "twice":
        events.insert(at, event)
    else:
        path = draw(st.sampled_from(list(places(json.loads(_json(event))))))
        value = draw(OTHERS)

        def change(whole):
            inner = whole
            for step in path[:-1]:
                inner = inner[step]
            if kind == "remove":
                del inner[path[-1]]
            else:
                inner[path[-1]] = value

        events[at] = with_json(event, change)
    return b"".join(events)


def _json(event):
    return event[event.index(b"{") : event.rindex(b"}") + 1]


def lines(data):
    """The lines that say something."""
    return [line for line in data.replace(b"\r", b"\n").split(b"\n") if line.strip()]


def is_json(data):
    try:
        json.loads(data.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return False
    return True


def payloads(name, shown):
    if name == "ollama":
        return lines(shown)
    found = map(sse.data_of, sse.split(shown))
    return [data for data in found if data and data.strip() not in (b"[DONE]", b"ping")]


class Response:
    """Pieces, and then the end of the response."""

    status = 200
    headers = ()
    complete = False

    def __init__(self, said, cuts):
        edges = [0, *sorted(cuts), len(said)]
        self._pieces = [said[a:b] for a, b in itertools.pairwise(edges) if a < b]

    async def receive(self):
        return self._pieces.pop(0) if self._pieces else b""

    def close(self):
        pass


async def received(name, said, cuts):
    """What the client gets of what was said, and its ending if that is complete."""
    exchange = an_exchange()
    exchange.call = CALLS["openai" if name == "responses" else name]
    provider = OpenAI(Provider(name="upstream"))
    response = Response(said, cuts)
    body = StreamBody(exchange, provider, response, a_follower(name), Watch())
    got = b""
    try:
        while data := await body.receive():
            got += data
    except UpstreamError:
        return got, None
    return got, body.ending


def candidates(payloads_):
    """The indices of the candidates that Gemini's events speak of."""
    found = set()
    for data in payloads_:
        event = json.loads(data)
        listed = event.get("candidates") if isinstance(event, dict) else None
        for each in listed if isinstance(listed, list) else ():
            if isinstance(each, dict):
                found.add(str(each.get("index", 0)))
    return found


@pytest.mark.parametrize("name", ENDS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_event_is_passed_on_untouched_or_the_answer_is_not_complete(
    name, data
):
    said = data.draw(mutations(name))
    cuts = data.draw(st.lists(st.integers(0, len(said)), max_size=3))

    got, ending = trio.run(received, name, said, cuts)

    shown = lines(got)
    assert shown == lines(said)[: len(shown)]
    if ending is None:
        passed = list(filter(is_json, payloads(name, got)))
        # One candidate of several may have ended well before another broke off:
        # Gemini has no end marker besides.
        if not (name == "gemini" and len(candidates(passed)) > 1):
            assert not any(ENDS[name] in data for data in passed)
    else:
        # Where the upstream's own did not come, the end of its response stands for it.
        assert (
            ending in OWN
            or lines(ending) == lines(said)[len(shown) :][: len(lines(ending))]
        )
        assert all(map(is_json, payloads(name, got + ending)))
