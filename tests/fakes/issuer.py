"""An OpenID Connect issuer: keys that rotate, tokens of every kind, outages."""

import json

import trio
from joserfc import jwk, jws

from gandalf.actors.token_issuers import FetchFailed

URL = "https://login.example.com"
JWKS = f"{URL}/keys"
AUDIENCE = "gandalf"


class FakeIssuer:
    """Signs tokens and publishes its keys. ``down`` makes it unreachable."""

    def __init__(self, url=URL, unix_time=lambda: 1_700_000_000.0):
        self.url = url
        self.unix_time = unix_time
        self.keys = []
        self.down = False
        self.latency = 0.0
        self.fetched_at = []
        self.published = None
        self.rotate("k1")

    def rotate(self, key_id, key=None, *, keep=False):
        """Sign with a new key from now on; with ``keep`` the old ones stay published."""
        new = key or jwk.ECKey.generate_key("P-256")
        self.key_id, self.key = key_id, new
        self.keys = [*(self.keys if keep else ()), (key_id, new)]

    def key_set(self):
        if self.published is not None:
            return self.published
        keys = [
            {"kid": k, "use": "sig", **v.as_dict(private=False)} for k, v in self.keys
        ]
        return json.dumps({"keys": keys}).encode()

    def document(self, path):
        if path == "/keys":
            return self.key_set()
        assert path == "/.well-known/openid-configuration"
        return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()

    async def fetch(self, url):
        self.fetched_at.append(trio.current_time())
        await trio.sleep(self.latency)
        if self.down or not url.startswith(f"{self.url}/"):
            raise FetchFailed("ConnectError")
        return self.document(url.removeprefix(self.url))

    def claims(self, **claims):
        now = int(self.unix_time())
        usual = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "alice",
            "iat": now,
            "exp": now + 600,
        }
        return {k: v for k, v in {**usual, **claims}.items() if v is not None}

    def token(self, header=None, key=None, algorithm="ES256", **claims):
        """Return a token; a claim or header field of None is left out."""
        fields = {"alg": algorithm, "kid": self.key_id, "typ": "JWT", **(header or {})}
        fields = {k: v for k, v in fields.items() if v is not None}
        registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        payload = json.dumps(self.claims(**claims))
        return jws.serialize_compact(
            fields, payload, key or self.key, registry=registry
        ).encode()
