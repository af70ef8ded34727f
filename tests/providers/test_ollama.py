import pytest

from gandalf.config import Provider as ProviderConfig
from gandalf.dialects import ollama
from gandalf.domain.errors import BadRequest, UpstreamError
from gandalf.domain.model import Model
from gandalf.domain.secret import Secret
from gandalf.domain.usage import TokenUsage
from gandalf.pipeline.stream_body import StreamBody
from gandalf.providers.base import Ask
from gandalf.providers.fields import parse
from gandalf.providers.ollama import Ollama
from gandalf.providers.watch import Watch
from tests.fakes import ollama_format as fmt
from tests.pipeline.builders import a_chat_body, an_exchange


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

    assert b"authorization" not in dict(parse(without.headers))
    assert dict(parse(cloud.headers))[b"authorization"] == b"Bearer k"


async def test_headers_of_the_client_go_first():
    request = await provider().request(ask(headers=b"x-a: b\r\n"))

    assert parse(request.headers)[0] == (b"x-a", b"b")


def test_it_speaks_ollamas_dialect_in_lines_of_json():
    local = provider()

    assert local.dialect is ollama
    assert local.stream_content_type == b"application/x-ndjson"
    assert local.stream_framing is None
    assert local.model("m") == Model(name="m")


# Its streams, as the pipeline passes them on.


class Response:
    """The pieces of a body, which then ends."""

    status = 200
    headers = ()
    complete = False

    def __init__(self, pieces):
        self._pieces = list(pieces)

    async def receive(self):
        return self._pieces.pop(0) if self._pieces else b""

    def close(self):
        pass


def a_stream(*pieces):
    exchange = an_exchange(a_chat_body(stream=True))
    follower = ollama.AnswerStream()
    body = StreamBody(exchange, provider(), Response(pieces), follower, Watch())
    return body, exchange


async def read(body):
    pieces = []
    while piece := await body.receive():
        pieces.append(piece)
    return b"".join(pieces)


async def test_a_stream_is_complete_with_its_last_line_and_that_one_comes_last():
    lines = fmt.chat_lines("Hel", "lo", counts=fmt.metrics(5, 3))
    body, exchange = a_stream(*lines)

    await body.wait_content()
    shown = await read(body)
    body.note(exchange)

    assert shown == b"".join(lines[:-1])
    assert body.ending == lines[-1]
    assert exchange.usage == TokenUsage(input=5, output=3)
    assert exchange.finish_reason == "stop"


async def test_a_stream_without_its_last_line_is_an_error():
    body, _ = a_stream(*fmt.chat_lines("Hel", "lo", done=False))

    with pytest.raises(UpstreamError, match="early"):
        await read(body)


async def test_an_error_before_any_content_leaves_time_for_another_upstream():
    body, _ = a_stream(fmt.line(fmt.piece("")), fmt.error("no memory") + b"\n")

    with pytest.raises(UpstreamError, match="no memory"):
        await body.wait_content()
