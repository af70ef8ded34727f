"""A gateway with a configuration file, and a client of its admin API."""

import json
from contextlib import closing

import pytest

from gandalf import config
from gandalf.actors.supervisor import supervise
from gandalf.app import _Gateway
from gandalf.config.merge import load_merged
from gandalf.domain.identity import Role
from gandalf.storage import database as storage
from gandalf.storage.keys import KeyStore
from gandalf.storage.managed import ManagedStore

FILE = """
database: {{dsn: {dsn}}}
rate_limits: {{default_rpm: 0, default_tpm: 0}}
providers:
  - name: simulated
routes:
  - model_alias: fast
    targets: [{{provider: simulated, model: m-1}}]
keys:
  - {{name: admin, key: {admin}, role: admin}}
  - {{name: member, key: {member}, role: member}}
  - {{name: viewer, key: {viewer}, role: viewer}}
  - {{name: service_account, key: {service_account}, role: service_account}}
  - {{name: acme, key: {acme}, role: admin, org_id: acme}}
"""


def key(name):
    return f"gnd_{name}_key_of_the_tests"


class AdminClient:
    """Quart's test client with a key, for JSON."""

    def __init__(self, client, who="admin"):
        self._client = client
        self.who = who

    def as_(self, who):
        return AdminClient(self._client, who)

    async def call(self, method, path, body=None, headers=None):
        return await self._client.open(
            f"/admin/v1{path}",
            method=method,
            headers={"authorization": f"Bearer {self.key}", **(headers or {})},
            data=None if body is None else json.dumps(body),
        )

    @property
    def key(self):
        return self.who if self.who.startswith("gnd_") else key(self.who)

    async def get(self, path, **how):
        return await self.call("GET", path, **how)

    async def post(self, path, body=None, **how):
        return await self.call("POST", path, body, **how)

    async def put(self, path, body=None, **how):
        return await self.call("PUT", path, body, **how)

    async def delete(self, path, **how):
        return await self.call("DELETE", path, **how)

    async def chat(self, model, who, **fields):
        text = who if who.startswith("gnd_") else key(who)
        return await self._client.open(
            "/v1/chat/completions",
            method="POST",
            headers={"authorization": f"Bearer {text}"},
            data=json.dumps(
                {
                    "model": model,
                    "messages": [{"role": "user", "content": "hi"}],
                    **fields,
                }
            ),
        )


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "gandalf.yaml"
    names = ["acme", *Role]
    keys = {name: key(name) for name in names}
    path.write_text(FILE.format(dsn=tmp_path / "g.db", **keys))
    return path


@pytest.fixture
async def gateway(config_file):
    environ = {"UPSTREAM_KEY": "sk-the-upstream-key", "GANDALF_SECRET": "no"}
    settings = config.load(config_file, environ)
    database = storage.Database(settings.database.dsn)
    await database.open()
    with closing(database):
        managed = await ManagedStore(database).load()
        made = _Gateway(
            settings,
            config_file,
            environ,
            database,
            KeyStore(database),
            managed=managed,
            merged=load_merged(config_file, environ, managed.objects),
        )
        await made.keys.load()
        async with supervise(made.keys, made.journal, made.config):
            yield made
        for upstream in made.routes.current.upstreams.values():
            upstream.close()


@pytest.fixture
def admin(gateway):
    return AdminClient(gateway.application().test_client())
