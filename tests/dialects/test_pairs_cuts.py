"""A stream that breaks off, at every byte, for every client of every upstream.

Each goes through ``StreamBody``: what is complete there has all of the answer in it,
and what is not is an error, after a beginning of what the client would have got.
"""

import pytest

from gandalf.config import Provider
from gandalf.dialects import sse
from gandalf.dialects.conversation import (
    Choice,
    Completion,
    Ended,
    Finish,
    Finished,
    Text,
    Thinking,
    ToolCall,
)
from gandalf.domain.errors import UpstreamError
from gandalf.domain.usage import TokenUsage
from gandalf.pipeline.stream_body import StreamBody
from gandalf.providers.bedrock import AnthropicFraming
from gandalf.providers.openai import OpenAI
from gandalf.providers.watch import UpstreamBroken, Watch
from tests.fakes import bedrock_format
from tests.pipeline.builders import an_exchange

from .pairs_answers import of_upstream
from .pairs_clients import CALLS, CLIENTS, UPSTREAMS, comparable, joined, understood
from .pairs_upstreams import SAYS
from .test_pairs_answers import a_stream, read, same

ANSWER = Completion(
    model="m",
    choices=(
        Choice(
            parts=(
                Thinking(text="Hm", signature="c2VhbA==", origin="its own"),
                Text(text="A\u2028{"),
                ToolCall(id="call_1", name="f", arguments='{"x": [1]}'),
            ),
            finish=Finish.TOOL_CALLS,
        ),
    ),
    usage=TokenUsage(input=9, output=2),
)


def recorded(upstream):
    answer = of_upstream(upstream, ANSWER)
    return b"".join(SAYS[upstream].stream(answer, 5))


class Response:
    """Some bytes, and then the end of the response or of the connection."""

    status = 200
    headers = ()
    complete = False

    def __init__(self, said, *, broken):
        self._said = said
        self._broken = broken

    async def receive(self):
        said, self._said = self._said, b""
        if not said and self._broken:
            raise UpstreamBroken("broken", sent=True)
        return said

    def close(self):
        pass


PROVIDER = OpenAI(Provider(name="upstream"))


async def received(client, follower, said, *, broken=False, provider=PROVIDER):
    """What the client gets of what was said, and whether that is complete."""
    exchange = an_exchange()
    exchange.call = CALLS[client]
    response = Response(said, broken=broken)
    body = StreamBody(exchange, provider, response, follower, Watch())
    got = b""
    try:
        while data := await body.receive():
            got += data
    except UpstreamError:
        return same(got), False
    return same(got + body.ending), True


def frames(client, shown):
    """The events or lines that the client gets, without what separates them."""
    if client == "ollama":
        return shown.splitlines()
    events = (event.strip() for event in sse.split(shown))
    # A blank line too many, where one was cut off and put back, says nothing.
    return [event for event in events if event]


def content(client, shown):
    choice, _ = joined(read(client, shown))
    return comparable(understood(client, choice))


async def assert_never_complete_with_less(client, make, said, **provider):
    whole, complete = await received(client, make(), said, **provider)
    assert complete
    everything, events = content(client, whole), frames(client, whole)

    for cut in range(len(said)):
        got, complete = await received(
            client, make(), said[:cut], broken=bool(cut % 2), **provider
        )
        seen = frames(client, got)
        if complete:
            assert content(client, got) == everything, cut
        else:
            assert seen == events[: len(seen)], cut
            ends = [e for e in read(client, got) if isinstance(e, Finished | Ended)]
            assert ends == [], cut


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_no_part_of_a_translated_stream_passes_for_the_whole(upstream, client):
    await assert_never_complete_with_less(
        client, lambda: a_stream(client, upstream), recorded(upstream)
    )


@pytest.mark.parametrize("client", CLIENTS)
async def test_no_part_of_a_stream_that_passes_through_passes_for_the_whole(client):
    dialect = CLIENTS[client]

    await assert_never_complete_with_less(
        client, lambda: dialect.follow(CALLS[client]), recorded(client)
    )


async def test_no_part_of_a_framed_stream_passes_for_the_whole():
    answer = of_upstream("anthropic", ANSWER)
    events = SAYS["anthropic"].stream(answer, 5)
    said = b"".join(bedrock_format.chunk(sse.data_of(event)) for event in events)
    provider = OpenAI(Provider(name="bedrock"))
    provider.stream_framing = AnthropicFraming

    await assert_never_complete_with_less(
        "anthropic",
        lambda: CLIENTS["anthropic"].follow(CALLS["anthropic"]),
        said,
        provider=provider,
    )


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", ["f", "another"])
async def test_no_part_of_a_stream_whose_json_is_a_call_passes_for_the_whole(
    client, name
):
    await assert_never_complete_with_less(
        client, lambda: a_stream(client, "anthropic", name), recorded("anthropic")
    )
