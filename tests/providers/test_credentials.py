"""Fetching what providers prove themselves with, from servers of our own."""

import json
import math
import threading
import time

import pytest
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gandalf.config import ProviderAuth
from gandalf.domain.secret import Secret
from gandalf.providers import (
    credentials_aws,
    credentials_azure,
    credentials_google,
)
from gandalf.providers.blocking import SLOTS, Blocking
from gandalf.providers.credentials import (
    AwsKeys,
    FetchFailed,
    Fixed,
    Token,
)
from tests.fakes.token_server import token_server


@pytest.fixture
def server():
    with token_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    """Nothing of this machine counts."""
    for name in (
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_CLOUD_PROJECT",
        "HTTP_PROXY",
        "http_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-keys"))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", str(tmp_path))


# Values


def test_values_do_not_show_themselves():
    assert "hunter2" not in repr(Token("hunter2"))
    assert "hunter2" not in repr(AwsKeys("hunter2", "hunter2", "hunter2"))
    assert "hunter2" not in repr([Token("hunter2", 1.0, "p")])


def test_a_token_goes_into_a_header_field():
    assert Token("abc").header == (b"authorization", b"Bearer abc")


async def test_what_is_fixed_is_always_there():
    assert Fixed(Token("abc")).current() == Token("abc")
    assert await Fixed(Token("abc")).get() == Token("abc")


# Threads


async def test_a_fetch_that_is_given_up_leaves_a_slot_for_another_try():
    blocking = Blocking()
    release = threading.Event()

    with trio.move_on_after(0.01) as scope:
        await blocking.run(release.wait)
    try:
        assert scope.cancelled_caught
        with trio.fail_after(5):
            assert await blocking.run(lambda: "again") == "again"
    finally:
        release.set()


async def test_fetches_that_hang_do_not_pile_up_nor_hold_others():
    blocking, other = Blocking(), Blocking()
    release = threading.Event()
    started = []

    def hang():
        started.append(1)
        release.wait()

    try:
        for _ in range(SLOTS + 3):
            with trio.move_on_after(0.01):
                await blocking.run(hang)
        assert len(started) <= SLOTS
        with trio.fail_after(5):
            assert await other.run(lambda: "mine") == "mine"
    finally:
        release.set()


# Entra ID


def entra(server, **changes):
    return ProviderAuth(
        **{
            "type": "entra",
            "tenant_id": "contoso",
            "client_id": "app",
            "client_secret": Secret("hunter2"),
            "authority": server.url,
        }
        | changes
    )


def test_entra_gives_a_token_for_a_clients_credentials(server):
    server.answer = {"access_token": "eyJ", "expires_in": 3599, "token_type": "Bearer"}

    token = credentials_azure.fetch_entra(entra(server))

    assert token.value == "eyJ"
    assert token.expires_at == pytest.approx(time.time() + 3599, abs=5)
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/contoso/oauth2/v2.0/token")
    assert asked.form == {
        "grant_type": "client_credentials",
        "client_id": "app",
        "client_secret": "hunter2",
        "scope": "https://cognitiveservices.azure.com/.default",
    }


def test_entra_is_asked_for_the_scope_that_is_configured(server):
    server.answer = {"access_token": "eyJ", "expires_in": 60}

    credentials_azure.fetch_entra(entra(server, scope="https://ai.azure.com/.default"))

    assert server.asked[0].form["scope"] == "https://ai.azure.com/.default"


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (
            401,
            {
                "error": "invalid_client",
                "error_description": "AADSTS7000215: Invalid client secret hunter2.",
            },
            "Entra ID answered 401: invalid_client AADSTS7000215",
        ),
        (400, {"error": "hunter2!", "error_description": "hunter2"}, "Entra ID answered 400"),
        (503, b"hunter2", "Entra ID answered 503"),
        (200, b"hunter2", "Entra ID answered with no token"),
        (200, {"token": "hunter2"}, "Entra ID answered with no token"),
        (200, {"access_token": "hunter2", "expires_in": "soon"}, "Entra ID answered with no token"),
        (200, b"\xff\xfe", "Entra ID answered with no token"),
    ],
)  # fmt: skip
def test_what_entra_refuses_is_told_without_its_words(server, status, answer, expected):
    server.status, server.answer = status, answer

    with pytest.raises(FetchFailed) as caught:
        credentials_azure.fetch_entra(entra(server))

    assert str(caught.value) == expected
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_redirect_gets_no_secret(server):
    with token_server() as elsewhere:
        server.status = 307
        server.headers = {"location": f"{elsewhere.url}/contoso/oauth2/v2.0/token"}

        with pytest.raises(FetchFailed, match="Entra ID answered 307"):
            credentials_azure.fetch_entra(entra(server))

        assert elsewhere.asked == []


def test_a_server_that_is_not_there_is_told(server):
    auth = entra(server, authority="http://127.0.0.1:9")

    with pytest.raises(FetchFailed, match=r"^Entra ID cannot be reached: Conn"):
        credentials_azure.fetch_entra(auth)


# Managed identities


def test_a_virtual_machine_asks_its_metadata_service(server):
    in_an_hour = str(int(time.time()) + 3600)
    server.answer = {
        "access_token": "eyJ",
        "expires_in": "3599",
        "expires_on": in_an_hour,
    }
    auth = ProviderAuth(type="managed_identity", client_id="mine", authority=server.url)

    token = credentials_azure.fetch_managed_identity(auth, {})

    assert token.expires_at == pytest.approx(time.time() + 3599, abs=5)
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("GET", "/metadata/identity/oauth2/token")
    assert asked.headers["metadata"] == "true"
    assert asked.query == {
        "api-version": "2018-02-01",
        "resource": "https://cognitiveservices.azure.com",
        "client_id": "mine",
    }


def test_app_service_has_an_endpoint_of_its_own(server):
    server.answer = {"access_token": "eyJ", "expires_on": str(int(time.time()) + 600)}
    environ = {
        "IDENTITY_ENDPOINT": f"{server.url}/msi/token",
        "IDENTITY_HEADER": "guid",
    }

    token = credentials_azure.fetch_managed_identity(
        ProviderAuth(type="managed_identity"), environ
    )

    assert token.expires_at == pytest.approx(time.time() + 600, abs=5)
    (asked,) = server.asked
    assert asked.path == "/msi/token"
    assert asked.headers["x-identity-header"] == "guid"
    assert asked.query == {
        "api-version": "2019-08-01",
        "resource": "https://cognitiveservices.azure.com",
    }


def test_the_metadata_service_is_not_asked_through_a_proxy(server, monkeypatch):
    server.answer = {"access_token": "eyJ", "expires_in": 60}
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    auth = ProviderAuth(type="managed_identity", authority=server.url)

    assert credentials_azure.fetch_managed_identity(auth, {}).value == "eyJ"


# Google


@pytest.fixture(scope="module")
def private_key():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.fixture
def key_file(server, private_key, tmp_path):
    path = tmp_path / "key.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "acme",
                "private_key_id": "1",
                "private_key": private_key,
                "client_email": "gandalf@acme.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": f"{server.url}/token",
            }
        )
    )
    return str(path)


def test_a_service_accounts_key_gives_a_token_and_the_project(server, key_file):
    server.answer = {"access_token": "ya29", "expires_in": 3599, "token_type": "Bearer"}

    token = credentials_google.fetch(key_file)

    assert (token.value, token.project) == ("ya29", "acme")
    assert token.expires_at == pytest.approx(time.time() + 3599, abs=5)
    assert server.asked[0].form["grant_type"].endswith("jwt-bearer")


def test_application_default_credentials_are_found(server, key_file, monkeypatch):
    server.answer = {"access_token": "ya29", "expires_in": 3599, "token_type": "Bearer"}
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key_file)

    token = credentials_google.fetch()

    assert (token.value, token.project) == ("ya29", "acme")


def test_what_google_refuses_is_told_without_its_words(server, key_file):
    server.status = 400
    server.answer = {"error": "invalid_grant", "error_description": "hunter2"}

    with pytest.raises(FetchFailed) as caught:
        credentials_google.fetch(key_file)

    assert str(caught.value) == "RefreshError: invalid_grant"


def test_google_is_not_followed_elsewhere(server, key_file):
    with token_server() as elsewhere:
        server.status = 307
        server.headers = {"location": f"{elsewhere.url}/token"}

        with pytest.raises(FetchFailed):
            credentials_google.fetch(key_file)

        assert elsewhere.asked == []


def test_no_credentials_of_googles_are_told(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"private_key": "hunter2"')

    with pytest.raises(FetchFailed, match=r"^no application default credent"):
        credentials_google.fetch()
    with pytest.raises(FetchFailed) as caught:
        credentials_google.fetch(str(broken))
    assert "is not a service account's key: " in str(caught.value)
    assert "hunter2" not in str(caught.value)


# AWS


def test_keys_of_the_environment_are_found(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")

    keys = credentials_aws.fetch()

    assert keys == AwsKeys("AKID", "secret", "session", math.inf)


def test_keys_of_a_profile_are_found_and_change_with_the_file(tmp_path):
    shared = tmp_path / "aws-keys"
    for key in ("AKID1", "AKID2"):
        shared.write_text(
            f"[work]\naws_access_key_id = {key}\naws_secret_access_key = secret\n"
        )

        assert credentials_aws.fetch("work") == AwsKeys(key, "secret", None, math.inf)


def test_temporary_keys_of_a_container_say_when_they_expire(server, monkeypatch):
    server.answer = {
        "AccessKeyId": "ASIA",
        "SecretAccessKey": "secret",
        "Token": "session",
        "Expiration": "2100-01-01T00:00:00Z",
    }
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/role")

    keys = credentials_aws.fetch()

    assert (keys.access_key, keys.token) == ("ASIA", "session")
    assert keys.expires_at == 4102444800.0


def test_no_keys_of_amazons_are_told():
    with pytest.raises(FetchFailed, match="found no keys"):
        credentials_aws.fetch()
    with pytest.raises(FetchFailed, match=r"^ProfileNotFound$"):
        credentials_aws.fetch("nobody")
