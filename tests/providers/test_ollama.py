import pytest

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects import ollama
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model
from gandalf.domain.secret import Secret
from gandalf.providers.base import Ask
from gandalf.providers.ollama import Ollama


def provider(**fields):
    return Ollama(ProviderConfig(name="local", type="ollama", **fields))


def ask(operation="chat", **fields):
    return Ask(operation=operation, model="llama3.2", body=b"{}", **fields)


@pytest.mark.parametrize(
    ("operation", "target"),
    [
        ("chat", b"/api/chat"),
        ("generate", b"/api/generate"),
        ("embeddings", b"/api/embed"),
        ("legacy_embeddings", b"/api/embeddings"),
    ],
)
async def test_each_operation_has_its_place(operation, target):
    request = await provider().request(ask(operation))

    assert (request.method, request.target, request.body) == (b"POST", target, b"{}")


async def test_an_operation_it_does_not_have_is_refused():
    with pytest.raises(BadRequest) as refused:
        await provider().request(ask("count_tokens"))
    assert refused.value.code == "unsupported_operation"


@pytest.mark.parametrize(
    ("base_url", "seen", "target"),
    [
        ("", "http://localhost:11434", b"/api/chat"),
        ("http://gpu:11434", "http://gpu:11434", b"/api/chat"),
        ("http://gpu:11434/", "http://gpu:11434", b"/api/chat"),
        ("http://gpu:11434/api", "http://gpu:11434", b"/api/chat"),
        ("http://gpu:11434/api/", "http://gpu:11434", b"/api/chat"),
        ("http://gpu:11434/v1", "http://gpu:11434", b"/api/chat"),
        ("https://ollama.com/api", "https://ollama.com", b"/api/chat"),
        ("https://x/ollama/api", "https://x/ollama", b"/ollama/api/chat"),
    ],
)
async def test_the_base_url_is_the_servers_with_or_without_its_api(
    base_url, seen, target
):
    local = provider(base_url=base_url)

    assert local.base_url == seen
    assert (await local.request(ask())).target == target


async def test_a_key_is_sent_if_there_is_one():
    without = await provider().request(ask())
    cloud = await provider(api_key=Secret("k")).request(ask())

    assert b"authorization" not in dict(without.headers)
    assert dict(cloud.headers)[b"authorization"] == b"Bearer k"


async def test_headers_of_the_client_go_first():
    request = await provider().request(ask(headers=[(b"x-a", b"b")]))

    assert request.headers[0] == (b"x-a", b"b")


def test_it_speaks_ollamas_dialect_in_lines_of_json():
    local = provider()

    assert local.dialect is ollama
    assert local.stream_content_type == b"application/x-ndjson"
    assert local.stream_framing is None
    assert local.model("m") == Model(name="m")
