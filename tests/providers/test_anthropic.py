import pytest

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects import anthropic
from gandalf.domain.errors import BadRequest
from gandalf.domain.secret import Secret
from gandalf.providers.anthropic import Anthropic
from gandalf.providers.base import Ask
from gandalf.providers.fields import parse, render


def a_provider(**fields):
    return Anthropic(ProviderConfig(name="claude", **fields))


def an_ask(operation="chat", **fields):
    return Ask(operation=operation, model="claude-opus-5-5", body=b"{}", **fields)


async def test_a_chat_goes_to_messages_with_the_key_and_a_version():
    provider = a_provider(api_key=Secret("sk-ant"))

    request = await provider.request(an_ask())

    assert (request.method, request.target) == (b"POST", b"/v1/messages")
    assert parse(request.headers) == [
        (b"content-type", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"x-api-key", b"sk-ant"),
        (b"anthropic-version", b"2023-06-01"),
    ]
    assert provider.base_url == "https://api.anthropic.com/v1"


async def test_a_count_goes_to_its_own_path():
    request = await a_provider().request(an_ask("count_tokens"))

    assert request.target == b"/v1/messages/count_tokens"


async def test_the_clients_version_and_beta_headers_stand():
    headers = [(b"anthropic-version", b"2026-10-21"), (b"anthropic-beta", b"x,y")]

    request = await a_provider().request(
        an_ask(headers=render(headers), query=b"beta=true")
    )

    assert request.target == b"/v1/messages?beta=true"
    assert [
        f for f in parse(request.headers) if f[0].startswith(b"anthropic")
    ] == headers


async def test_another_base_url_keeps_its_path():
    provider = a_provider(base_url="https://proxy.example/claude/v1/")

    request = await provider.request(an_ask())

    assert request.target == b"/claude/v1/messages"


async def test_there_are_no_embeddings():
    with pytest.raises(BadRequest) as refused:
        await a_provider().request(an_ask("embeddings"))
    assert refused.value.code == "unsupported_operation"


def test_it_speaks_anthropics_dialect():
    provider = a_provider()

    assert provider.dialect is anthropic
    assert provider.stream_content_type == b"text/event-stream"
    assert provider.model("claude-x").name == "claude-x"
