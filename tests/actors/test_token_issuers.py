import base64
import hashlib
import hmac
import json
import logging

import pytest
import trio
import trio.testing
from joserfc import jwk

from gandalf.actors.key_table import KeyTable
from gandalf.actors.token_issuers import (
    LAST_PAUSE,
    MAX_TOKEN_BYTES,
    MIN_REFETCH,
    REFRESH_EVERY,
    REMEMBERED,
    TokenIssuers,
)
from gandalf.config import ClaimPaths, Config, Issuer, RoleRule
from gandalf.domain.errors import Overloaded, PermissionDenied, Unauthenticated
from gandalf.domain.identity import Limits, Role
from gandalf.domain.tenants import Tenant, TenantKind, Tenants
from gandalf.storage.database import Database
from gandalf.storage.errors import StorageError
from gandalf.storage.keys import KeyStore
from gandalf.storage.tenants import TenantStore
from tests.fakes.issuer import AUDIENCE, JWKS, URL, FakeIssuer

ORG = TenantKind.ORGANIZATION
TEAM = TenantKind.TEAM
USER = TenantKind.USER


class UnixTime:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


class Made:
    """Where teams and users are made."""

    def __init__(self):
        self.tenants = []
        self.entries = []
        self.down = False

    async def insert(self, tenant, entry):
        if self.down:
            raise StorageError("disk gone")
        self.tenants.append((tenant.kind, tenant.id, tenant.org_id, tenant.team_id))
        self.entries.append(entry)


def issuer_of(**fields):
    given = {"name": "corp", "issuer": URL, "audiences": (AUDIENCE,), "jwks_url": JWKS}
    return Issuer(algorithms=("ES256", "RS256"), **{**given, **fields})


def tenants_of(*tenants):
    every = (Tenant(kind=ORG, id="default", org_id="default"), *tenants)
    return Tenants({(tenant.kind, tenant.id): tenant for tenant in every})


TENANTS = tenants_of()


@pytest.fixture
def unix_time():
    return UnixTime()


@pytest.fixture
def idp(unix_time):
    return FakeIssuer(unix_time=unix_time)


@pytest.fixture
def made():
    return Made()


@pytest.fixture
def begin(nursery, idp, made, unix_time):
    """Start an actor for these issuers and wait until it has their keys."""

    async def start(*issuers, fetch=idp.fetch, **fields):
        issuers = issuers or (issuer_of(**fields),)
        tokens = TokenIssuers(issuers, fetch, made, now=unix_time)
        nursery.start_soon(tokens.run)
        await trio.testing.wait_all_tasks_blocked()
        return tokens

    return start


def why(tokens, token, error=Unauthenticated, tenants=TENANTS):
    with pytest.raises(error) as caught:
        tokens.authenticate(token, tenants)
    return caught.value.message


async def test_a_token_stands_for_its_subject(begin, idp):
    tokens = await begin()

    identity = tokens.authenticate(idp.token(), TENANTS)

    assert identity.key_id == "jwt:corp:alice"
    assert (identity.org_id, identity.role) == ("default", Role.MEMBER)
    assert (identity.team_id, identity.user_id, identity.limits) == (None, None, None)
    assert identity.expires_at == 1_700_000_630


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", jwk.RSAKey.generate_key(2048)),
        ("PS256", jwk.RSAKey.generate_key(2048)),
        ("ES384", jwk.ECKey.generate_key("P-384")),
        ("Ed25519", jwk.OKPKey.generate_key("Ed25519")),
    ],
    ids=["RS256", "PS256", "ES384", "Ed25519"],
)
async def test_asymmetric_algorithms_work_where_they_are_configured(
    begin, idp, algorithm, key
):
    idp.rotate("k2", key)
    tokens = await begin(issuer_of(name="other", issuer="https://x.example.com"))
    assert "issuer" in why(tokens, idp.token(algorithm=algorithm))

    tokens.configure(
        [
            Issuer(
                name="corp",
                issuer=URL,
                audiences=(AUDIENCE,),
                jwks_url=JWKS,
                algorithms=(algorithm,),
            )
        ]
    )
    await trio.testing.wait_all_tasks_blocked()

    found = tokens.authenticate(idp.token(algorithm=algorithm), TENANTS)
    assert found.key_id == "jwt:corp:alice"


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"exp": 1_700_000_000 - 31}, "expired on 2023-11-14 22:12 UTC"),
        ({"exp": None}, "no expiry"),
        ({"exp": "tomorrow"}, "exp is not a time"),
        ({"exp": True}, "exp is not a time"),
        ({"nbf": 1_700_000_031}, "not valid before"),
        ({"iat": 1_700_000_031}, "issued only on"),
        ({"nbf": 1e300}, "not valid before"),
        ({"aud": "another"}, "another audience"),
        ({"aud": ["another", 7]}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"iss": "https://evil.example.com"}, "issuer is not accepted"),
        ({"iss": f"{URL}/"}, "issuer is not accepted"),
        ({"sub": None}, "no subject"),
        ({"sub": ""}, "no subject"),
        ({"sub": 7}, "no subject"),
    ],
    ids=str,
)
async def test_a_token_with_wrong_claims_is_refused(begin, idp, claims, told):
    tokens = await begin()

    assert told in why(tokens, idp.token(**claims))


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({"typ": "logout+jwt"}, "type (typ)"),
        ({"crit": ["exp"], "exp": 1}, "critical extensions"),
        ({"crit": ["b64"], "b64": True}, "critical extensions"),
        ({"kid": "unheard-of"}, "not one of its issuer"),
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_header_is_refused(begin, idp, header, told):
    tokens = await begin()

    assert told in why(tokens, forged(idp, header))


def forged(idp, header=None, sign=None, alg="ES256"):
    """A token put together by hand, for what joserfc would not make."""
    fields = {"alg": alg, "kid": idp.key_id, "typ": "JWT", **(header or {})}

    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    body = encoded(json.dumps(fields).encode()) + b"."
    body += encoded(json.dumps(idp.claims()).encode())
    signature = idp.token().rpartition(b".")[2] if sign is None else encoded(sign(body))
    return body + b"." + signature


@pytest.mark.parametrize("typ", [None, "jwt", "at+jwt", "application/at+JWT"])
async def test_access_tokens_and_identity_tokens_are_accepted(begin, idp, typ):
    tokens = await begin()

    assert tokens.authenticate(idp.token({"typ": typ}), TENANTS).key_id


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", ""])
async def test_an_unsigned_token_is_refused(begin, idp, alg):
    tokens = await begin()

    told = why(tokens, forged(idp, alg=alg, sign=lambda _: b""))

    assert told == "the token's algorithm is not one of ES256, RS256"


async def test_a_public_key_is_no_shared_secret(begin, idp):
    idp.rotate("k2", jwk.RSAKey.generate_key(2048))
    tokens = await begin()
    pem = idp.key.as_pem(private=False)

    def sign(body):
        return hmac.new(pem, body, hashlib.sha256).digest()

    assert "algorithm" in why(tokens, forged(idp, alg="HS256", sign=sign))


async def test_a_key_is_used_with_its_own_kind_of_algorithm_only(begin, idp):
    rsa = jwk.RSAKey.generate_key(2048)
    tokens = await begin()

    # Named as if the issuer's EC key had signed it.
    told = why(tokens, idp.token(algorithm="RS256", key=rsa))

    assert told == "the token's key is not one of its issuer"


async def test_a_token_that_another_key_signed_is_refused(begin, idp):
    tokens = await begin()
    stranger = jwk.ECKey.generate_key("P-256")

    assert "signature" in why(tokens, idp.token(key=stranger))


async def test_a_changed_token_is_refused(begin, idp):
    tokens = await begin()
    head, payload, signature = idp.token().split(b".")
    other = idp.token(sub="bob").split(b".")[1]

    assert "signature" in why(tokens, b".".join((head, other, signature)))
    assert "signature" in why(tokens, b".".join((head, payload, b"")))
    assert "signature" in why(tokens, b".".join((head, payload, b"!!")))


@pytest.mark.parametrize(
    "token", [b"..", b"a.b.c", b"e30.e30.", b"\xff.\xff.\xff", b"bnVsbA.bnVsbA.x"]
)
async def test_what_is_no_token_is_refused(begin, token):
    tokens = await begin()

    assert "neither an api key of this gateway nor a JWT" in why(tokens, token)


async def test_a_token_nested_too_deeply_is_refused(begin, idp):
    tokens = await begin()
    deep = b'{"iss": "x", "a": ' + b"[" * 5000
    token = base64.urlsafe_b64encode(b'{"alg": "ES256"}') + b"."
    token += base64.urlsafe_b64encode(deep) + b".AAAA"

    assert "neither an api key" in why(tokens, token)


async def test_an_oversized_token_is_refused(begin, idp):
    tokens = await begin()
    token = idp.token(groups="g" * MAX_TOKEN_BYTES)

    assert why(tokens, token) == "a token is at most 8192 bytes long"
    assert tokens.authenticate(idp.token(groups="g" * 5000), TENANTS).key_id


async def test_no_refusal_tells_anything_of_the_token(begin, idp):
    tokens = await begin()
    token = idp.token(sub="s3cret-subject", aud="s3cret-audience")

    told = why(tokens, token)

    assert "s3cret" not in told
    assert token.decode()[:20] not in told


async def test_clocks_may_differ_by_the_leeway(begin, idp, unix_time):
    tokens = await begin(leeway=10.0)
    token = idp.token(iat=1_700_000_010, nbf=1_700_000_010, exp=1_700_000_100)
    assert tokens.authenticate(token, TENANTS).key_id

    unix_time.now += 109.9
    assert tokens.authenticate(token, TENANTS).key_id
    unix_time.now += 0.1
    assert "expired" in why(tokens, token)


async def test_a_remembered_token_expires_all_the_same(begin, idp, unix_time):
    tokens = await begin(leeway=0.0)
    token = idp.token(exp=1_700_000_005)
    tokens.authenticate(token, TENANTS)

    unix_time.now += 5

    assert "expired" in why(tokens, token)


async def test_a_rotated_key_is_fetched_when_a_token_names_it(
    autojump_clock, begin, idp
):
    tokens = await begin()
    await trio.sleep(MIN_REFETCH)
    idp.rotate("k2")

    assert "being fetched" in why(tokens, idp.token(), Overloaded)
    await trio.testing.wait_all_tasks_blocked()

    assert tokens.authenticate(idp.token(), TENANTS).key_id == "jwt:corp:alice"
    assert idp.fetched_at == [0, MIN_REFETCH]


async def test_tokens_with_invented_keys_do_not_make_the_gateway_ask_often(
    autojump_clock, begin, idp
):
    tokens = await begin()
    for i in range(100):
        token = idp.token({"kid": f"invented-{i}"})
        with pytest.raises((Unauthenticated, Overloaded)):
            tokens.authenticate(token, TENANTS)
        await trio.sleep(1)

    assert 10 <= len(idp.fetched_at) <= 100 / MIN_REFETCH + 1


async def test_a_withdrawn_key_ends_the_tokens_that_it_signed(
    autojump_clock, begin, idp
):
    tokens = await begin()
    token = idp.token()
    tokens.authenticate(token, TENANTS)

    idp.rotate("k2")
    await trio.sleep(REFRESH_EVERY)
    await trio.testing.wait_all_tasks_blocked()

    assert "not one of its issuer" in why(tokens, token)


async def test_a_key_replaced_under_the_same_name_ends_its_tokens(
    autojump_clock, begin, idp
):
    tokens = await begin()
    token = idp.token()
    tokens.authenticate(token, TENANTS)

    idp.rotate("k1")
    await trio.sleep(REFRESH_EVERY)
    await trio.testing.wait_all_tasks_blocked()

    assert "signature" in why(tokens, token)


async def test_tokens_are_accepted_while_their_issuer_is_away(
    autojump_clock, begin, idp, unix_time
):
    tokens = await begin()
    idp.down = True

    await trio.sleep(REFRESH_EVERY * 10)
    unix_time.now += REFRESH_EVERY * 10

    assert tokens.authenticate(idp.token(), TENANTS).key_id == "jwt:corp:alice"
    # An unknown key may be a new one: that is not the client's fault.
    assert "being fetched" in why(tokens, idp.token({"kid": "k2"}), Overloaded)
    assert not tokens.degraded


async def test_an_issuer_that_was_never_reached_is_asked_until_it_answers(
    autojump_clock, begin, idp, caplog
):
    idp.down = True
    tokens = await begin()
    assert "being fetched" in why(tokens, idp.token(), Overloaded)
    assert tokens.degraded

    await trio.sleep(100)
    assert idp.fetched_at == [0, 1, 3, 7, 15, 31, 63]
    idp.down = False
    await trio.sleep(LAST_PAUSE)

    assert tokens.authenticate(idp.token(), TENANTS).key_id
    assert not tokens.degraded
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warnings == [
        "the keys of issuer corp cannot be fetched; 0 known: ConnectError",
        "the keys of issuer corp can be fetched",
    ]


async def test_an_issuer_that_hangs_is_given_up(autojump_clock, begin, idp):
    idp.latency = 1000.0
    tokens = await begin()

    await trio.sleep(10.5)

    assert tokens.degraded


@pytest.mark.parametrize(
    "document",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"keys": []}',
        b'{"keys": ' + b"[" * 9000,
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "EC"}, 7]}',
    ],
    ids=["text", "list", "none", "empty", "deep", "unusable"],
)
async def test_a_bad_key_set_does_not_replace_a_good_one(
    autojump_clock, begin, idp, document
):
    tokens = await begin()
    idp.published = document

    await trio.sleep(REFRESH_EVERY)
    await trio.testing.wait_all_tasks_blocked()

    assert len(idp.fetched_at) == 2
    assert tokens.authenticate(idp.token(), TENANTS).key_id


async def test_a_short_rsa_key_is_not_used(begin, idp):
    with pytest.warns(Warning, match="2048"):
        short = jwk.RSAKey.generate_key(1024)
    idp.rotate("k2", short, keep=True)
    idp.published = idp.key_set()
    tokens = await begin()

    told = why(tokens, forged(idp, alg="RS256", sign=lambda _: b"any"))

    assert told == "the token's key is not one of its issuer"


async def test_a_token_without_a_key_id_is_verified_with_the_only_key(
    autojump_clock, begin, idp
):
    tokens = await begin()
    assert tokens.authenticate(idp.token({"kid": None}), TENANTS).key_id

    idp.rotate("k2", keep=True)
    await trio.sleep(REFRESH_EVERY)
    await trio.testing.wait_all_tasks_blocked()

    assert "does not name its key" in why(
        tokens, idp.token({"kid": None}, sub="another")
    )


async def test_the_keys_are_found_by_discovery(begin, idp):
    tokens = await begin(jwks_url="")

    assert tokens.authenticate(idp.token(), TENANTS).key_id
    assert len(idp.fetched_at) == 2


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example.com", "jwks_uri": f"{URL}/keys"},
        {"issuer": URL, "jwks_uri": "http://login.example.com/keys"},
        {"issuer": URL},
        [],
    ],
    ids=str,
)
async def test_discovery_for_another_issuer_or_over_plain_http_is_refused(
    begin, idp, document
):
    async def fetch(url):
        return json.dumps(document).encode()

    tokens = await begin(fetch=fetch, jwks_url="")

    assert tokens.degraded
    assert "being fetched" in why(tokens, idp.token(), Overloaded)


async def test_two_issuers_vouch_for_their_own_tokens_only(begin, idp, unix_time):
    second = FakeIssuer("https://id.example.org", unix_time)

    async def fetch(url):
        return await (idp if url.startswith(URL) else second).fetch(url)

    tokens = await begin(
        issuer_of(),
        issuer_of(name="partner", issuer=second.url, jwks_url=f"{second.url}/keys"),
        fetch=fetch,
    )

    assert tokens.authenticate(idp.token(), TENANTS).key_id == "jwt:corp:alice"
    assert tokens.authenticate(second.token(), TENANTS).key_id == "jwt:partner:alice"
    # Both call their key k1: one signs in the name of the other.
    assert "signature" in why(tokens, second.token(iss=URL))


async def test_an_issuer_that_is_removed_is_not_accepted_any_more(
    autojump_clock, begin, idp
):
    tokens = await begin()
    token = idp.token()
    tokens.authenticate(token, TENANTS)

    tokens.configure([])

    assert why(tokens, token) == "this is not an api key of this gateway"
    await trio.sleep(REFRESH_EVERY * 2)
    assert len(idp.fetched_at) == 1


# Claims.


async def test_claims_are_mapped_by_dotted_paths(begin, idp):
    acme = Tenant(kind=ORG, id="acme", org_id="acme")
    red = Tenant(kind=TEAM, id="red", org_id="acme", rpm_limit=7, tags={"a": "1"})
    bob = Tenant(kind=USER, id="bob@acme.example", org_id="acme")
    tokens = await begin(
        claims=ClaimPaths(
            org="https://acme.example/org.id",
            team="groups",
            user="email",
            role="realm_access.roles",
            tags="labels",
        ),
        organizations=("acme",),
        roles=(
            RoleRule(value="boss", role=Role.ADMIN),
            RoleRule(value="looker", role=Role.VIEWER),
        ),
    )
    token = idp.token(
        **{"https://acme.example/org": {"id": "acme"}},
        groups=["red"],
        email="bob@acme.example",
        realm_access={"roles": ["looker", "boss"]},
        labels={"cost-center": "42"},
    )

    found = tokens.authenticate(token, tenants_of(acme, red, bob))

    assert (found.org_id, found.team_id, found.user_id) == (
        "acme",
        "red",
        "bob@acme.example",
    )
    assert found.role is Role.ADMIN
    assert found.tags == {"a": "1", "cost-center": "42"}
    assert [(level.name, level.limits) for level in found.levels] == [
        ("team:red", Limits(rpm=7))
    ]


@pytest.mark.parametrize(
    ("fields", "claims", "told"),
    [
        ({"claims": ClaimPaths(org="org")}, {"org": "acme"}, "may not name this org"),
        (
            {"claims": ClaimPaths(org="org"), "organizations": ("*",)},
            {"org": "nowhere"},
            "organization does not exist",
        ),
        ({"claims": ClaimPaths(team="t")}, {"t": ["a", "b"]}, "no id of one team"),
        ({"claims": ClaimPaths(team="t")}, {"t": {"a": 1}}, "no id of one team"),
        ({"claims": ClaimPaths(user="u")}, {"u": "a/../b"}, "no id of one user"),
        ({"claims": ClaimPaths(user="u")}, {"u": "bob"}, "user is not known here"),
        ({"claims": ClaimPaths(team="t")}, {"t": "foreign"}, "another organization"),
        ({"claims": ClaimPaths(tags="t")}, {"t": ["a b"]}, "tags hold characters"),
        ({}, {"sub": "x" * 201}, "too long"),
        ({}, {"sub": "a\nb"}, "not printable"),
    ],
    ids=str,
)
async def test_claims_that_cannot_be_used_are_refused(begin, idp, fields, claims, told):
    tokens = await begin(**fields)
    acme = Tenant(kind=ORG, id="acme", org_id="acme")
    foreign = Tenant(kind=TEAM, id="foreign", org_id="acme")

    message = why(
        tokens, idp.token(**claims), PermissionDenied, tenants_of(acme, foreign)
    )

    assert told in message


ADMINS = {
    "claims": ClaimPaths(role="role"),
    "roles": (RoleRule(value="root", role=Role.ADMIN),),
}


async def test_a_token_administers_the_gateway_only_where_that_is_allowed(begin, idp):
    tokens = await begin(**ADMINS)
    token = idp.token(role="root")
    assert "administrators of the whole" in why(tokens, token, PermissionDenied)

    tokens.configure([issuer_of(allow_operator=True, **ADMINS)])
    await trio.testing.wait_all_tasks_blocked()

    assert tokens.authenticate(token, TENANTS).role is Role.ADMIN


async def test_without_a_default_role_a_token_needs_one_of_its_own(begin, idp):
    tokens = await begin(default_role=None, allow_operator=True, **ADMINS)

    assert tokens.authenticate(idp.token(role="root"), TENANTS).role is Role.ADMIN
    for role in ("guest", None, {"root": 1}):
        told = why(tokens, idp.token(role=role), PermissionDenied)
        assert "none of the roles" in told


# Teams and users.


async def test_a_team_and_a_user_are_made_when_they_are_first_seen(begin, idp, made):
    tokens = await begin(
        claims=ClaimPaths(team="team", user="sub"), create_tenants=True
    )
    for _ in range(3):
        found = tokens.authenticate(idp.token(team="red"), TENANTS)
    await trio.testing.wait_all_tasks_blocked()

    assert (found.team_id, found.user_id) == ("red", "alice")
    assert made.tenants == [
        (TEAM, "red", "default", None),
        (USER, "alice", "default", "red"),
    ]
    assert [(e.actor, e.action, e.object) for e in made.entries] == [
        ("jwt:corp:alice", "teams.create", "teams/red"),
        ("jwt:corp:alice", "users.create", "users/alice"),
    ]


async def test_a_user_who_could_not_be_made_is_made_later(
    begin, idp, made, unix_time, caplog
):
    tokens = await begin(claims=ClaimPaths(user="sub"), create_tenants=True)
    made.down = True
    tokens.authenticate(idp.token(), TENANTS)
    await trio.testing.wait_all_tasks_blocked()
    assert made.tenants == []
    assert "users/alice is not made: disk gone" in caplog.text

    made.down = False
    unix_time.now += REMEMBERED
    tokens.authenticate(idp.token(), TENANTS)
    await trio.testing.wait_all_tasks_blocked()

    assert made.tenants == [(USER, "alice", "default", None)]


async def test_limits_of_a_tenant_that_change_hold_for_the_next_request(begin, idp):
    tokens = await begin(claims=ClaimPaths(user="sub"))
    token = idp.token()
    alice = {"kind": USER, "id": "alice", "org_id": "default"}
    before = tokens.authenticate(token, tenants_of(Tenant(**alice)))

    after = tokens.authenticate(token, tenants_of(Tenant(rpm_limit=1, **alice)))

    assert before.levels == ()
    assert [level.name for level in after.levels] == ["user:alice"]


# Beside keys.


async def test_a_blocked_user_is_refused(idp, begin, tmp_path):
    database = Database(str(tmp_path / "g.db"))
    await database.open()
    tokens = await begin(claims=ClaimPaths(user="sub"))
    table = KeyTable(KeyStore(database), Config(), tokens=tokens)
    alice = Tenant(kind=USER, id="alice", org_id="default", blocked=True)
    entry = tokens_entry()
    await TenantStore(database).insert(alice, entry)
    await table.load()

    with pytest.raises(PermissionDenied) as caught:
        table.authenticate(idp.token())

    assert caught.value.message == (
        "the holder of the token, jwt:corp:alice, is blocked: user alice is blocked"
    )
    assert caught.value.identity.key_id == "jwt:corp:alice"
    database.close()


def tokens_entry():
    from gandalf.domain.audit import AuditEntry

    return AuditEntry(id="a", at=0.0, actor="x", actor_org="default", action="x")


async def test_a_token_is_no_key_where_there_are_no_issuers(begin, idp, tmp_path):
    database = Database(str(tmp_path / "g.db"))
    await database.open()
    without = KeyTable(KeyStore(database), Config())
    none = TokenIssuers((), idp.fetch, Made())
    table = KeyTable(KeyStore(database), Config(), tokens=none)

    for each in (without, table):
        with pytest.raises(Unauthenticated, match="not an api key of this gateway"):
            each.authenticate(idp.token())
    database.close()
