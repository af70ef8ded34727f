import pytest

from gandalf.actors.key_table import KeyTable
from gandalf.config import Config, Key
from gandalf.domain.errors import PermissionDenied, Unauthenticated
from gandalf.domain.identity import Identity
from gandalf.domain.secret import Secret
from gandalf.domain.tenants import Tenants
from gandalf.pipeline.authenticate import Authenticate, any_token, bearer_token
from gandalf.storage.keys import KeyChanges

from .builders import an_exchange

KEY = "gnd_0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFG"


class EmptyStore:
    async def changes_since(self, version):
        return None if version == 0 else KeyChanges(0, {}, 0, Tenants())


@pytest.fixture
async def stage():
    """The stage as it is in a gateway that knows one key."""
    keys = KeyTable(EmptyStore(), Config(keys=(Key(name="web", key=Secret(KEY)),)))
    await keys.load()
    return Authenticate(keys)


def an_unknown_caller(authorization=None, **headers):
    if authorization is not None:
        headers["authorization"] = authorization
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    encoded = {
        name.encode(): value if isinstance(value, bytes) else value.encode()
        for name, value in fields.items()
    }
    exchange = an_exchange(headers=encoded)
    exchange.identity = None
    return exchange


@pytest.mark.parametrize(
    "field",
    [
        f"Bearer {KEY}",
        f"bearer {KEY}",
        f"BEARER {KEY}",
        f"Bearer   {KEY}",
        f" Bearer {KEY}\t",
    ],
)
async def test_a_known_key_gives_the_exchange_its_identity(stage, field):
    exchange = an_unknown_caller(field)

    assert stage.enter(exchange) is None

    assert exchange.identity.key_id == "config:web"


@pytest.mark.parametrize(
    "field",
    [
        None,
        "",
        "   ",
        "Bearer",
        "Bearer ",
        KEY,
        f"Basic {KEY}",
        f"Token {KEY}",
        f"Bearer{KEY}",
        f"Bearer\t{KEY}",
        f"Bearer: {KEY}",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY}x",
        f"Bearer {KEY} {KEY}",
        f"Bearer {KEY}, Bearer {KEY}",
        f"Bearer gnd_unknown, Bearer {KEY}",
        f"Bearer {KEY},",
        f"Bearer x, {KEY}",
        f"Bearer sk-{KEY[4:]}",
        f"Bearer {KEY.upper()}",
        f'Bearer "{KEY}"',
        "Bearer gnd_' OR 1=1; DROP TABLE api_keys; --",
        "Bearer gnd_" + "a" * 1_000_000,
        "Bearer gnd_ключ",
        "Bearer \uff47\uff4e\uff44_" + KEY[4:],
        b"Bearer gnd_\xff\xfe\x00",
        f"Bearer {KEY}\x00".encode(),
        b"Bearer " + KEY.encode("utf-16"),
    ],
    ids=lambda field: repr(field)[:40],
)
async def test_anything_else_is_refused_and_names_nobody(stage, field):
    exchange = an_unknown_caller(field)

    with pytest.raises(Unauthenticated) as caught:
        stage.enter(exchange)

    assert caught.value.status == 401
    assert caught.value.type == "authentication_error"
    assert exchange.identity is None
    assert KEY[4:] not in str(caught.value)


@pytest.mark.parametrize("name", ["x_api_key", "api_key", "x_goog_api_key", "cookie"])
async def test_a_key_in_another_providers_header_is_not_looked_at(stage, name):
    with pytest.raises(Unauthenticated, match="no api key"):
        stage.enter(an_unknown_caller(**{name: KEY}))


async def test_what_the_table_says_of_a_key_reaches_the_caller():
    class Blocked:
        def authenticate(self, token):
            raise PermissionDenied("api key blocked")

    with pytest.raises(PermissionDenied):
        Authenticate(Blocked()).enter(an_unknown_caller(f"Bearer {KEY}"))


async def test_the_table_is_asked_for_exactly_the_key():
    asked = []

    class Table:
        def authenticate(self, token):
            asked.append(token)
            return Identity(key_id="k")

    Authenticate(Table()).enter(an_unknown_caller(f"Bearer {KEY}"))

    assert asked == [KEY.encode()]
    assert bearer_token({b"authorization": b"bearer  gnd_x "}) == b"gnd_x"


@pytest.mark.parametrize("field", [b"Bearer a b", b"Bearer a,b", b"Bearer a, Bearer b"])
def test_of_two_keys_none_is_taken(field):
    with pytest.raises(Unauthenticated, match="exactly one api key"):
        bearer_token({b"authorization": field})


def test_of_two_keys_the_gateways_own_is_taken():
    headers = {b"authorization": b"Bearer gnd_x", b"x-api-key": b"sk-ant-api03-x"}

    assert any_token(headers, b"x-api-key") == b"gnd_x"


@pytest.mark.parametrize(
    ("bearer", "other"), [(b"gnd_x", b"gnd_y"), (b"sk-x", b"sk-y")]
)
def test_two_keys_of_one_kind_are_refused(bearer, other):
    headers = {b"authorization": b"Bearer " + bearer, b"x-api-key": other}

    with pytest.raises(Unauthenticated, match="exactly one api key"):
        any_token(headers, b"x-api-key")
