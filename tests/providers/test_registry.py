"""Every type at every hosting can be made, with what it proves itself by."""

import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

from gandalf.config import Provider, ProviderAuth
from gandalf.config.hostings import AUTHS
from gandalf.dialects import openai
from gandalf.domain.secret import Secret
from gandalf.providers import credentials_aws, credentials_azure, credentials_google
from gandalf.providers.base import RemoteProvider
from gandalf.providers.credentials import AwsKeys, Fixed, Token
from gandalf.providers.registry import ROWS, credential_of, make_provider, with_total

KEY = Secret("key")


class Keeper:
    """Keeps nothing, and remembers what it was to keep."""

    def __init__(self):
        self.kept = []

    def keep(self, name, identity, fetch):
        self.kept.append((name, identity, fetch))
        return Fixed(fetch)


def section(kind, hosting, way="", /, **settings):
    needs_key = (way or AUTHS[kind, hosting][0]) in ("api_key", "bearer")
    defaults = {
        "name": "p",
        "type": kind,
        "hosting": hosting,
        "base_url": "https://acme.openai.azure.com" if hosting == "azure" else "",
        "region": "eu-west1",
        "project": "acme",
        "api_key": KEY if needs_key else None,
        "auth": ProviderAuth(type=way),
    }
    return Provider(**defaults | settings)


def test_there_is_a_row_for_whatever_the_configuration_accepts():
    assert set(ROWS) == set(AUTHS)


@pytest.fixture
def _stand_ins(monkeypatch):
    """Modules in the place of those that this checkout does not have."""

    class StandIn(RemoteProvider):
        def __init__(self, config, credential=None, dialect=openai):
            super().__init__(config, "https://stand-in.example", dialect)
            self.credential = credential

    def stand_in(name, **members):
        if find_spec(name) is None:
            module = ModuleType(name)
            vars(module).update(members)
            monkeypatch.setitem(sys.modules, name, module)
            package, _, child = name.rpartition(".")
            monkeypatch.setattr(sys.modules[package], child, module, raising=False)

    stand_in("gandalf.dialects.anthropic", STREAM_CONTENT_TYPE=b"")
    stand_in("gandalf.dialects.gemini", STREAM_CONTENT_TYPE=b"")
    stand_in("gandalf.providers.anthropic", Anthropic=StandIn)
    stand_in("gandalf.providers.gemini", Gemini=StandIn, action_of=None)
    stand_in("gandalf.providers.ollama", Ollama=StandIn)
    stand_in(
        "gandalf.providers.bedrock", BedrockConverse=StandIn, BedrockAnthropic=StandIn
    )


@pytest.mark.usefixtures("_stand_ins")
@pytest.mark.parametrize(
    ("kind", "hosting", "auth"),
    [(*place, auth) for place, auths in AUTHS.items() for auth in auths],
)
def test_whatever_the_configuration_accepts_can_be_made(kind, hosting, auth):
    keeper = Keeper()

    provider = make_provider(section(kind, hosting, auth), keeper)

    assert provider.name == "p"
    assert bool(keeper.kept) == (auth not in ("api_key", "bearer"))
    if isinstance(provider, RemoteProvider):
        assert provider.base_url.startswith("http")
        assert provider.catalogue_id == ROWS[kind, hosting].catalogue_id
        itself = auth == "api_key" or (auth == "bearer" and hosting in ("", "bedrock"))
        assert (provider.credential is None) == itself


@pytest.mark.usefixtures("_stand_ins")
def test_bedrocks_own_type_needs_no_hosting():
    keeper = Keeper()

    make_provider(section("bedrock", "bedrock", hosting=""), keeper)

    assert len(keeper.kept) == 1


def test_an_api_key_needs_nobody():
    assert credential_of(section("openai", "azure")) is None


def test_a_token_that_is_given_is_fixed():
    credential = credential_of(section("openai", "azure", "bearer"))

    assert credential.current() == Token("key")


def test_a_key_at_bedrock_is_sent_by_the_provider_itself():
    assert credential_of(section("anthropic", "bedrock", api_key=KEY)) is None


def test_a_key_that_the_environment_has_for_bedrock_needs_nobody(monkeypatch):
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "key")

    assert credential_of(section("anthropic", "bedrock")) is None
    with pytest.raises(ValueError):
        credential_of(section("anthropic", "bedrock", "aws_sigv4"))


def test_keys_of_amazons_that_are_given_are_fixed():
    auth = ProviderAuth(
        access_key_id="AKID",
        secret_access_key=Secret("secret"),
        session_token=Secret("session"),
    )

    credential = credential_of(section("anthropic", "bedrock", auth=auth))

    assert credential.current() == AwsKeys("AKID", "secret", "session")


@pytest.mark.parametrize(
    ("place", "auth", "fetch", "arguments"),
    [
        (("openai", "azure"), ProviderAuth(type="entra", tenant_id="t"), credentials_azure.fetch_entra, 1),
        (("openai", "azure"), ProviderAuth(type="managed_identity"), credentials_azure.fetch_managed_identity, 2),
        (("gemini", "vertex"), ProviderAuth(credentials_file="f"), credentials_google.fetch, ("f",)),
        (("anthropic", "bedrock"), ProviderAuth(profile="work"), credentials_aws.fetch, ("work",)),
    ],
)  # fmt: skip
def test_what_must_be_fetched_is_kept_by_the_keeper(place, auth, fetch, arguments):
    keeper = Keeper()

    credential_of(section(*place, auth=auth), keeper)
    credential_of(section(*place, auth=auth, region="elsewhere"), keeper)

    (name, identity, fetcher), (_, again, _) = keeper.kept
    assert name == "p"
    assert identity == again  # One token for both regions.
    assert hash(identity) == hash(again)
    assert fetcher.func is fetch
    if isinstance(arguments, tuple):
        assert fetcher.args == arguments
    else:
        assert fetcher.args[0] == auth
        assert len(fetcher.args) == arguments


def test_without_a_keeper_there_is_nobody_to_fetch():
    with pytest.raises(ValueError, match="nobody keeps the credentials of p"):
        make_provider(section("openai", "vertex"))


def test_the_older_time_limit_is_a_total():
    assert with_total(section("openai", "", timeout_ms=1500)).timeouts.total == 1.5


def test_who_has_no_cloud_does_not_pay_for_it():
    code = """
import sys
from gandalf.config import Provider
from gandalf.dialects import openai
from gandalf.domain.secret import Secret
from gandalf.providers.registry import make_provider
make_provider(Provider(name="openai", api_key=Secret("k")))
make_provider(Provider(name="groq", api_key=Secret("k")))
heavy = ("google", "botocore", "requests", "urllib3")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
