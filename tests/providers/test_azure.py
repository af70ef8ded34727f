"""URLs and credentials of OpenAI's models at Azure."""

import pytest

from gandalf.config import Provider
from gandalf.domain.errors import BadRequest
from gandalf.domain.secret import Secret
from gandalf.providers.azure import Azure
from gandalf.providers.base import Ask
from gandalf.providers.credentials import Fixed, Token
from gandalf.providers.fields import parse

RESOURCE = "https://acme.openai.azure.com"


def azure(credential=None, **settings):
    defaults = {
        "name": "azure-eu",
        "type": "openai",
        "hosting": "azure",
        "base_url": RESOURCE,
        "api_key": Secret("key"),
    }
    return Azure(Provider(**defaults | settings), credential)


def chat(model="gpt-4o", **more):
    return Ask(operation="chat", model=model, body=b'{"model":"x"}', **more)


# https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
@pytest.mark.parametrize(
    "base_url",
    [
        RESOURCE,
        RESOURCE + "/",
        RESOURCE + "/openai",
        RESOURCE + "/openai/",
        RESOURCE + "/openai/v1",
        RESOURCE + "/openai/v1/",
    ],
)
async def test_the_v1_surface_is_found_however_the_address_is_given(base_url):
    provider = azure(base_url=base_url)

    request = await provider.request(chat())

    assert provider.base_url == RESOURCE
    assert request.target == b"/openai/v1/chat/completions"
    assert request.body == b'{"model":"x"}'


async def test_what_stands_before_openai_in_the_address_is_kept():
    provider = azure(base_url="https://apim.example/eu/openai/v1")

    request = await provider.request(chat())

    assert request.target == b"/eu/openai/v1/chat/completions"


# https://learn.microsoft.com/azure/ai-foundry/openai/reference
@pytest.mark.parametrize(
    ("operation", "path"),
    [
        ("chat", b"/chat/completions"),
        ("completions", b"/completions"),
        ("embeddings", b"/embeddings"),
    ],
)
async def test_the_dated_surface_has_the_deployment_and_the_version(operation, path):
    provider = azure(api_version="2024-10-21")

    request = await provider.request(
        Ask(operation=operation, model="gpt 4/o", body=b"")
    )

    assert request.target == (
        b"/openai/deployments/gpt%204%2Fo" + path + b"?api-version=2024-10-21"
    )


async def test_a_version_without_a_date_is_one_of_the_v1_surface():
    request = await azure(api_version="preview").request(chat())

    assert request.target == b"/openai/v1/chat/completions?api-version=preview"


async def test_other_operations_are_where_their_path_says():
    ask = Ask(
        operation="responses",
        model="gpt-4o",
        body=b"",
        method=b"GET",
        path=b"/responses/resp_1",
        query=b"include=x&api-version=2023-05-15",
        content_type=b"text/plain",
    )

    v1 = await azure().request(ask)
    dated = await azure(api_version="2025-04-01-preview").request(ask)

    assert v1.method == b"GET"
    assert v1.target == b"/openai/v1/responses/resp_1?include=x"
    assert (b"content-type", b"text/plain") in parse(v1.headers)
    assert dated.target == (
        b"/openai/responses/resp_1?api-version=2025-04-01-preview&include=x"
    )


async def test_audio_and_images_belong_to_a_deployment_on_the_dated_surface():
    ask = Ask(operation="images", model="dall-e", body=b"", path=b"/images/generations")

    request = await azure(api_version="2024-10-21").request(ask)

    assert request.target.startswith(b"/openai/deployments/dall-e/images/generations?")


async def test_the_query_of_a_client_says_nothing_to_a_chat():
    request = await azure().request(chat(query=b"api-version=2023-05-15"))

    assert request.target == b"/openai/v1/chat/completions"


async def test_an_unknown_operation_is_refused():
    with pytest.raises(BadRequest, match="azure-eu has no rerank"):
        await azure().request(Ask(operation="rerank", model="m", body=b""))


async def test_an_api_key_has_azures_header():
    request = await azure().request(chat(headers=b"x-ms-thing: 1\r\n"))

    assert parse(request.headers) == [
        (b"x-ms-thing", b"1"),
        (b"accept-encoding", b"identity"),
        (b"api-key", b"key"),
        (b"content-type", b"application/json"),
    ]


async def test_a_token_of_entras_is_a_bearer_token_and_no_key_is_sent():
    provider = azure(Fixed(Token("eyJ")), api_key=None)

    request = await provider.request(chat())

    assert (b"authorization", b"Bearer eyJ") in parse(request.headers)
    assert b"api-key" not in dict(parse(request.headers))


async def test_a_new_token_is_used_for_the_next_request():
    class Changing(Fixed):
        def turn(self, value):
            self._value = value

    credential = Changing(Token("one"))
    provider = azure(credential, api_key=None)
    await provider.request(chat())

    credential.turn(Token("two"))
    request = await provider.request(chat())

    assert (b"authorization", b"Bearer two") in parse(request.headers)
