import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gandalf import config
from gandalf.config import (
    ConfigError,
    hosting_of,
    load,
    load_database,
    provider_type,
    reference,
)
from gandalf.config.budgets import budgets_of, max_budget_of
from gandalf.config.check import split_address
from gandalf.config.scalars import duration
from gandalf.domain.identity import Role
from gandalf.domain.secret import Secret

ROOT = Path(__file__).parent.parent
CANARY = "gnd_canary-0123456789abcdefghijklmnopqrstuvwxyz-AB"


@pytest.fixture
def read(tmp_path):
    """Load a text as the configuration."""

    def read(text, **environ):
        path = tmp_path / "gandalf.yaml"
        path.write_text(text)
        return load(path, environ)

    return read


@pytest.fixture
def problems(read):
    """Load a text that must be refused, and return why: line:column: key: message."""

    def problems(text, **environ):
        with pytest.raises(ConfigError) as caught:
            read(text, **environ)
        return [
            re.sub(r"^.*gandalf\.yaml:?", "", str(p)) for p in caught.value.problems
        ]

    return problems


A_PROVIDER = "providers: [{name: simulated}]\n"


# What is valid


def test_an_empty_file_is_all_defaults(read):
    assert read("") == config.Config()
    assert read("# nothing but a comment\n") == config.Config()


def test_every_key_of_the_predecessor_is_accepted(read):
    loaded = read(
        """
server: {addr: ":8080", read_timeout: 30s, write_timeout: 2m, shutdown_timeout: 30s}
database: {dsn: gandalf.db}
auth: {admin_key: gnd_an_admin_key_of_tests}
rate_limits: {default_rpm: 60, default_tpm: 100000}
cache: {enabled: true, max_size: 10000, default_ttl: 5m}
circuit_breaker:
  {enabled: false, error_threshold: 0.30, min_samples: 10, window_seconds: 60, open_timeout: 30s}
telemetry:
  metrics: {enabled: false}
  tracing: {enabled: false, endpoint: "localhost:4317", sample_rate: 0.1}
providers:
  - name: simulated
    type: openai
    base_url: https://api.openai.com/v1/
    api_key: sk-1
    models: [gpt-4o]
    priority: 1
    weight: 2
    max_rps: 3
    enabled: true
    timeout_ms: 30000
    hosting: ""
    region: eu
    project: p
    auth: {type: api_key, api_key: sk-2}
routes:
  - model_alias: fast
    strategy: priority
    cache_ttl_s: 60
    targets: [{provider: simulated, model: gpt-4o, priority: 1, weight: 1}]
keys:
  - {name: dev, key: gnd_dev, org_id: default, role: admin, allowed_models: ["gpt-*"]}
"""
    )

    assert loaded.server.write_timeout == 120
    assert loaded.cache.default_ttl == 300
    assert loaded.providers[0].auth.api_key == Secret("sk-2")
    assert loaded.routes[0].targets[0].model == "gpt-4o"
    assert loaded.keys[0] == config.Key(
        name="dev", key=Secret("gnd_dev"), role=Role.ADMIN, allowed_models=("gpt-*",)
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("250ms", 0.25),
        ("1h", 3600),
        ("1.5h", 5400),
        ("2d", 172800),
        ("100us", 0.0001),
        ("100µs", 0.0001),
        ("12", 12),
        ("0.5", 0.5),
        ("1e2", 100),
        ("0", 0),
    ],
)
def test_a_duration_is_written_as_in_go_or_as_seconds(text, seconds):
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "s", "1x", "5 m", "m5", "1.2.3s", "-", "1s2", "inf", "nan", "1e999"],
)
def test_what_is_not_a_duration_is_refused(text):
    with pytest.raises(ValueError):
        duration(text)


def test_the_type_of_a_key_decides_and_not_the_look_of_its_value(read):
    loaded = read(
        A_PROVIDER
        + """
keys: [{name: no, key: gnd_x, org_id: 0123, rpm_limit: "60", allowed_models: [4.10, yes]}]
cache: {enabled: off, max_size: 10_000}
"""
    )

    (key,) = loaded.keys
    assert (key.name, key.org_id, key.rpm_limit) == ("no", "0123", 60)
    assert key.allowed_models == ("4.10", "yes")
    assert loaded.cache.enabled is False
    assert loaded.cache.max_size == 10_000


def test_null_means_none_where_there_can_be_none_and_otherwise_the_default(read):
    timeouts = "providers: [{name: simulated, timeouts: {connect: null, idle: ~}}]"

    assert read(timeouts).providers[0].timeouts == config.Timeouts(
        connect=None, idle=None
    )
    assert read("cache: {max_size: null}").cache == config.Cache()
    assert read("cache:\nkeys:\n") == config.Config()


def test_what_is_left_empty_has_its_default_even_where_there_can_be_none(read):
    text = "providers: [{name: simulated, timeouts: {connect: , idle: '${IDLE:-}'}}]"

    assert read(text).providers[0].timeouts == config.Timeouts()
    assert read("database: {dsn: ''}").database == config.Database()


def test_anchors_and_merges_share_settings(read):
    loaded = read(
        """
providers:
  - &slow {name: simulated, max_connections: 5, timeouts: {total: 10s}}
  - {<<: *slow, name: other, type: simulated, max_connections: 6}
  - {<<: [{name: third, weight: 3}, *slow], type: simulated}
"""
    )

    assert [(p.name, p.max_connections, p.weight) for p in loaded.providers] == [
        ("simulated", 5, 1),
        ("other", 6, 1),
        ("third", 5, 3),
    ]
    assert {p.timeouts.total for p in loaded.providers} == {10}


# The environment


def test_a_reference_is_replaced_and_may_have_a_default(read):
    text = "database: {dsn: '${DIR}/${NAME:-gandalf}.db'}"

    assert read(text, DIR="/data").database.dsn == "/data/gandalf.db"
    assert read(text, DIR="", NAME="x").database.dsn == "/x.db"
    assert read(text, DIR="/data", NAME="").database.dsn == "/data/gandalf.db"


def test_a_dollar_sign_is_itself_where_it_begins_no_reference(read):
    assert read("database: {dsn: 'a$b$$c$'}").database.dsn == "a$b$c$"
    assert read("database: {dsn: '$${HOME}'}", HOME="h").database.dsn == "${HOME}"


def test_a_replaced_value_gets_the_type_of_its_key(read):
    loaded = read(
        "rate_limits: {default_rpm: '${RPM:-7}'}\ncache: {enabled: '${C}'}", C="no"
    )

    assert loaded.rate_limits.default_rpm == 7
    assert loaded.cache.enabled is False


def test_nothing_in_a_variable_is_read_as_yaml_or_as_a_reference(read):
    evil = "x\nauth: {generate_admin_key: true}\n# ${OTHER}"
    loaded = read("database:\n  dsn: ${EVIL}\n", EVIL=evil, OTHER="no")

    assert loaded.database.dsn == evil
    assert loaded.auth.generate_admin_key is False
    assert read("database: {dsn: '${N}'}", N="null").database.dsn == "null"


def test_comments_are_not_looked_at(read):
    assert read("# ${NOT_SET} and ${bad reference\n") == config.Config()


def test_an_unset_variable_is_an_error_and_not_its_own_name(problems):
    assert problems("database:\n  dsn: ${NOT_SET}\n") == [
        "2:8: database.dsn: environment variable NOT_SET is not set"
    ]


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A-b}", "x${A B}y"])
def test_a_malformed_reference_is_an_error(problems, text):
    (problem,) = problems(f"database: {{dsn: '{text}'}}", A="a")

    assert "expected ${NAME} or ${NAME:-default}" in problem


def test_the_admin_key_of_the_environment_counts_unless_the_file_has_one(
    read, problems
):
    long, other = "gnd_long_enough_for_an_admin", "gnd_another_that_is_long_enough"
    assert read("", GANDALF_ADMIN_KEY=long).auth.admin_key == Secret(long)
    assert read("", GANDALF_ADMIN_KEY="").auth.admin_key is None
    given = read(f"auth: {{admin_key: {other}}}", GANDALF_ADMIN_KEY=long)
    assert given.auth.admin_key == Secret(other)
    (problem,) = problems("", GANDALF_ADMIN_KEY="hunter2")
    assert "auth.admin_key: a key must begin with gnd_" in problem


# What is not valid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("servr: {}", "1:1: servr: unknown key; did you mean server?"),
        (
            "server:\n  read_timeot: 1s",
            "2:3: server.read_timeot: unknown key; did you mean read_timeout?",
        ),
        ("auth: {zzz: 1}", "1:8: auth.zzz: unknown key; known: admin_key, generate_admin_key, issuers"),
        (
            "server:\n  backlog: many",
            "2:12: server.backlog: expected a whole number of at least 1, found 'many'",
        ),
        (
            "cache: {enabled: maybe}",
            "1:18: cache.enabled: expected true or false, found 'maybe'",
        ),
        (
            "cache: {default_ttl: 5 minutes}",
            "1:22: cache.default_ttl: expected a duration above 0 (30s, 1m30s, 250ms), found '5 minutes'",
        ),
        (
            "telemetry: {logging: {level: INFO}}",
            "1:30: telemetry.logging.level: expected one of debug, error, info, warning, found 'INFO'; did you mean info?",
        ),
        ("server: [1]", "1:9: server: expected a mapping, found a list"),
        ("server: yes", "1:9: server: expected a mapping, found 'yes'"),
        ("providers: {name: x}", "1:12: providers: expected a list, found a mapping"),
        ("[]", "1:1: expected a mapping, found a list"),
        ("database: {dsn: [a]}", "1:17: database.dsn: expected text, found a list"),
        ("providers: [{}]", "1:13: providers[0].name: is required: text"),
        ("providers: [{name: null}]", "1:20: providers[0].name: is required: text"),
        (
            "cache: {max_size: 1, max_size: 2}",
            "1:22: cache.max_size: is given twice, first on line 1",
        ),
        ("cache: {[a]: 1}", "1:9: cache: a key must be text, found a list"),
        ("cache: {<<: 1}", "1:13: cache: << takes a mapping, or a list of mappings"),
        (
            "server: {addr: !env HOME}",
            "1:16: server.addr: the YAML tag '!env' has no use here",
        ),
        ("cache: {max_size: 0}", "1:19: cache.max_size: expected a whole number of at least 1, found '0'"),
        ("cache: {max_size: 1e3}", "1:19: cache.max_size: expected a whole number of at least 1, found '1e3'"),
        ("rate_limits: {default_rpm: -1}", "1:28: rate_limits.default_rpm: expected a whole number, found '-1'"),
        (
            "circuit_breaker: {error_threshold: 1.01}",
            "1:36: circuit_breaker.error_threshold: expected a number from 0 to 1, found '1.01'",
        ),
        (
            "providers: [{name: openai, api_key: x}]\nroutes: [{fallback_on: [context_lenght], model_alias: a, targets: [{provider: openai, model: m}]}]",
            "2:25: routes[0].fallback_on[0]: expected one of content_policy, context_length, found 'context_lenght'; did you mean context_length?",
        ),
        (
            "circuit_breaker: {window_seconds: 61}",
            "1:35: circuit_breaker.window_seconds: expected a whole number from 1 to 60, found '61'",
        ),
        (
            "telemetry: {tracing: {sample_rate: .nan}}",
            "1:36: telemetry.tracing.sample_rate: expected a number from 0 to 1, found '.nan'",
        ),
        ("server: {addr: localhost}", "1:16: server.addr: expected host:port (or :port), found 'localhost'"),
        ("server: {tls: {cert_file: no, key_file: /no/such}}", "1:27: server.tls.cert_file: there is no such file"),
        ("a: b: c", "1:5: is not valid YAML: a value that holds ': ' needs quotes, or the indentation is wrong"),
        ("a: *b", "1:4: is not valid YAML: found undefined alias 'b'"),
        ("--- {}\n--- {}", "2:1: is not valid YAML: but found another document"),
        ("a: \x00", " is not valid YAML: it holds control characters"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(problems, text, expected):
    assert problems(text)[0] == expected


def test_all_mistakes_of_a_file_are_told_at_once_in_its_order(problems):
    found = problems(
        """\
server: {addr: nowhere}
cach: {}
providers:
  - {name: simulated, weight: x}
  - just text
routes:
  - {model_alias: a, targets: [{provider: simulatd, model: m}, {provider: simulated}]}
  - {model_alias: b}
keys:
  - {name: k, key: "${NOT_SET}"}
"""
    )

    assert [problem.partition(": ")[2].partition(":")[0] for problem in found] == [
        "server.addr",
        "cach",
        "providers[0].weight",
        "providers[1]",
        "routes[0].targets[1].model",
        "routes[1].targets",
        "keys[0].key",
    ]


def test_a_mistake_that_follows_from_another_is_not_told(problems):
    # The provider that the target means may be the one whose name is not known.
    found = problems(
        """\
providers: [{name: "${NOT_SET}", type: simulated}]
routes: [{model_alias: a, targets: [{provider: p, model: m}]}]
"""
    )

    assert found == ["1:20: providers[0].name: environment variable NOT_SET is not set"]
    assert problems("routes: [a route]") == [
        "1:10: routes[0]: expected a mapping, found 'a route'"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a", "1:13: providers[0].type: is required where the name is not one of openai, anthropic, gemini, ollama, bedrock, simulated or a preset"),
        ("name: a, type: opnai", "expected one of openai, anthropic, gemini, ollama, bedrock, simulated or a preset, found 'opnai'; did you mean openai?"),
        ("name: a, type: grok", "found 'grok'; did you mean groq?"),
        ("name: openai", "1:13: providers[0].api_key: is required where base_url is the public one"),
        ("name: groq", "1:13: providers[0].api_key: is required where base_url is the public one"),
        ("name: anthropic", "1:13: providers[0].api_key: is required where base_url is the public one"),
        ("name: a/b, type: simulated", "providers[0].name: expected up to 64 letters, digits"),
        ("name: openai, api_key: k, hosting: bedrock", "providers[0].hosting: is not supported for the type openai; supported: azure, vertex"),
        ("name: ollama, hosting: azure", "1:37: providers[0].hosting: is not supported for the type ollama"),
        ("name: openai, api_key: k, auth: {type: gcp_oauth}", "providers[0].auth.type: is not supported for the type openai; supported: api_key, bearer"),
        ("name: simulated, model_info: [{name: ''}]", "providers[0].model_info[0].name: is required"),
        ("name: simulated, model_info: [{name: m, context_window: 0}]", "context_window: expected a whole number of at least 1"),
        ('name: openai, api_key: "k\\n"', "providers[0].api_key: holds a space or a control character"),
        ("name: simulated, models: [a, 'b\tc']", "providers[0].models[1]: expected up to 256 printable"),
        ("name: simulated, timeouts: {idle: 0}", "providers[0].timeouts.idle: expected a duration above 0"),
        ("name: simulated}, {name: simulated", "providers[1].name: is also that of providers[0]"),
    ],
)  # fmt: skip
def test_a_provider_that_cannot_work_is_refused(problems, text, expected):
    (problem,) = problems(f"providers: [{{{text}}}]")

    assert expected in problem


AZURE = "name: a, type: openai, hosting: azure"
RESOURCE = "base_url: 'https://acme.openai.azure.com'"
VERTEX = "name: v, type: gemini, hosting: vertex, region: eu"
BEDROCK = "name: bedrock, region: eu-central-1"
ENTRA = "type: entra, tenant_id: t, client_id: c, client_secret: s"


@pytest.mark.parametrize(
    "text",
    [
        f"{AZURE}, {RESOURCE}, api_key: k",
        f"{AZURE}, {RESOURCE}, api_key: k, api_version: 2024-10-21",
        f"{AZURE}, {RESOURCE}, api_key: k, auth: {{type: bearer}}",
        f"{AZURE}, {RESOURCE}, auth: {{{ENTRA}}}",
        f"{AZURE}, {RESOURCE}, auth: {{{ENTRA}, scope: 'https://ai.azure.com/.default', authority: 'https://login.microsoftonline.us'}}",
        f"{AZURE}, {RESOURCE}, auth: {{type: managed_identity}}",
        f"{AZURE}, {RESOURCE}, auth: {{type: managed_identity, client_id: c}}",
        f"{VERTEX}",
        f"{VERTEX}, project: 'example.com:acme'",
        f"{VERTEX}, project: acme, api_key: k, auth: {{type: bearer}}",
        f"{VERTEX}, auth: {{credentials_file: '{__file__}'}}",
        "name: v, type: anthropic, hosting: vertex, region: global",
        "name: v, type: openai, hosting: vertex, region: us-central1",
        f"{BEDROCK}",
        f"{BEDROCK}, hosting: bedrock, api_key: k",
        f"{BEDROCK}, auth: {{profile: work}}",
        f"{BEDROCK}, auth: {{access_key_id: AKID, secret_access_key: s, session_token: t}}",
        "name: b, type: anthropic, hosting: bedrock, region: us-east-1",
        "name: ollama",
        "name: vllm",
        "name: groq, api_key: k",
        "name: groq, base_url: 'http://proxy/v1'",
        "name: bedrock, enabled: false",
    ],
)  # fmt: skip
def test_a_provider_at_a_cloud_is_accepted(read, text):
    assert read(f"providers: [{{{text}}}]").providers


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (AZURE + ", api_key: k", "base_url", "is required by the hosting azure: https://NAME.openai.azure.com"),
        (f"{AZURE}, {RESOURCE}", "api_key", "is required by auth.type"),
        (
            f"{AZURE}, api_key: k, base_url: 'https://x/openai/deployments/gpt'",
            "base_url",
            "must not name a deployment: the model of a route's target does",
        ),
        (f"{AZURE}, {RESOURCE}, api_key: k, api_version: '2024&x'", "api_version", "holds a character that cannot be"),
        (f"{AZURE}, {RESOURCE}, auth: {{type: entra, tenant_id: t, client_id: c}}", "auth.client_secret", "is required by auth.type entra"),
        (f"{AZURE}, {RESOURCE}, auth: {{{ENTRA}, authority: login}}", "auth.authority", "begins with http:// or https://"),
        (f"{AZURE}, {RESOURCE}, auth: {{{ENTRA.replace('tenant_id: t', 'tenant_id: a/b')}}}", "auth.tenant_id", "holds a character"),
        (f"{AZURE}, {RESOURCE}, auth: {{{ENTRA}, api_key: k}}", "auth.api_key", "belongs to auth.type api_key or bearer, not to entra"),
        (f"{AZURE}, {RESOURCE}, api_key: k, auth: {{{ENTRA}}}", "api_key", "belongs to auth.type api_key or bearer, not entra"),
        (f"{AZURE}, {RESOURCE}, api_key: k, auth: {{tenant_id: t}}", "auth.tenant_id", "belongs to auth.type entra, not to api_key"),
        (
            f"{AZURE}, {RESOURCE}, auth: {{type: gcp_oauth}}",
            "auth.type",
            "is not supported for the type openai at azure; supported: api_key, bearer, entra, managed_identity",
        ),
        ("name: gemini, hosting: vertex", "region", "is required by the hosting vertex"),
        (f"{VERTEX.replace('eu', 'EU')}", "region", "holds a character that cannot be"),
        ("name: gemini, hosting: vertex, region: 'x.evil.com/'", "region", "holds a character that cannot be"),
        (f"{VERTEX}, project: a/b", "project", "holds a character that cannot be"),
        (f"{VERTEX}, api_key: k, auth: {{type: bearer}}", "project", "is required where auth.type is bearer"),
        (f"{VERTEX}, api_key: k", "api_key", "belongs to auth.type api_key or bearer, not gcp_oauth"),
        (f"{VERTEX}, auth: {{credentials_file: /no/such}}", "auth.credentials_file", "there is no such file"),
        (f"{VERTEX}, api_version: v1", "api_version", "belongs to the hosting azure"),
        ("name: bedrock", "region", "is required by the hosting bedrock"),
        ("name: bedrock, hosting: vertex, region: eu", "hosting", "is not supported for the type bedrock; supported: bedrock"),
        (f"{BEDROCK}, auth: {{type: bearer}}", "api_key", "is required by auth.type"),
        (f"{BEDROCK}, auth: {{access_key_id: AKID}}", "auth.secret_access_key", "is required by access_key_id"),
        (f"{BEDROCK}, auth: {{session_token: t}}", "auth.access_key_id", "is required by session_token"),
        (f"{BEDROCK}, auth: {{access_key_id: AKID, secret_access_key: s, profile: p}}", "auth.profile", "cannot be beside access_key_id"),
        (f'{BEDROCK}, auth: {{access_key_id: AKID, secret_access_key: "hunter2\n"}}', "auth.secret_access_key", "holds a space or a control character"),
        ("name: groq, auth: {type: bearer}", "api_key", "is required by auth.type"),
    ],
)  # fmt: skip
def test_a_provider_at_a_cloud_that_cannot_work_is_refused(
    problems, text, key, expected
):
    (problem,) = problems(f"providers: [{{{text}}}]")

    assert f"providers[0].{key}: " in problem
    assert expected in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("settings", "auth"),
    [
        ({"type": "openai"}, "api_key"),
        ({"type": "openai", "hosting": "azure"}, "api_key"),
        ({"type": "gemini", "hosting": "vertex"}, "gcp_oauth"),
        ({"type": "anthropic", "hosting": "bedrock"}, "aws_sigv4"),
        ({"type": "bedrock"}, "aws_sigv4"),
        ({"type": "bedrock", "api_key": Secret("k")}, "bearer"),
        ({"type": "groq"}, "api_key"),
    ],
)
def test_a_hosting_implies_how_to_prove_oneself(settings, auth):
    assert config.auth_type(config.Provider(name="p", **settings)) == auth


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("api.openai.com/v1", "begins with http:// or https:// and a host"),
        ("ftp://x/v1", "begins with http:// or https:// and a host"),
        ("https:///v1", "begins with http:// or https:// and a host"),
        ("http://u:hunter2@x/v1", "must not hold a user name or password"),
        ("http://hunter2@x/v1", "must not hold a user name or password"),
        ("http://x/v1?key=hunter2", "must not hold a query or a fragment"),
        ("http://x/v1#hunter2", "must not hold a query or a fragment"),
        ("http://x:99999/v1", "is not a valid URL"),
        ("http://[::1/v1", "is not a valid URL"),
        ("http://x/a b", "no spaces"),
        ("http://x/ü", "no characters beyond ASCII"),
    ],
)
def test_a_base_url_is_http_with_a_host_and_nothing_secret(problems, url, expected):
    (problem,) = problems(f"providers: [{{name: openai, base_url: '{url}'}}]")

    assert "providers[0].base_url: " in problem
    assert expected in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "https://[::1]/v1", "http://x"]
)
def test_a_server_of_ones_own_needs_no_key(read, url):
    text = f"providers: [{{name: openai, base_url: '{url}'}}]"

    assert read(text).providers[0].base_url == url


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ("{model_alias: a, targets: []}", "1:36: routes[0].targets: a route needs at least one target"),
        (
            "{model_alias: a, targets: [{provider: simulatd, model: m}]}",
            "1:48: routes[0].targets[0].provider: there is no provider 'simulatd'; did you mean simulated?",
        ),
        ("{model_alias: a, targets: [{provider: off, model: m}]}", "targets[0].provider: this provider is disabled"),
        (
            "{model_alias: a, targets: [{provider: simulated, model: m, weight: 0}]}",
            "targets[0].weight: expected a whole number of at least 1, found '0'",
        ),
        (
            "{model_alias: a, targets: &t [{provider: simulated, model: m}]}, {model_alias: a, targets: *t}",
            "routes[1].model_alias: is also that of routes[0]",
        ),
    ],
)  # fmt: skip
def test_a_route_that_leads_nowhere_is_refused(problems, routes, expected):
    text = f"""routes: [{routes}]
providers: [{{name: simulated}}, {{name: off, type: simulated, enabled: false}}]
"""
    (problem,) = problems(text)

    assert expected in problem


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("{name: a, key: ''}", "keys[0].key: is required"),
        ("{name: a, key: hunter2}", "keys[0].key: a key must begin with gnd_; make one with"),
        ("{name: a, key: gnd_}", "keys[0].key: a key must begin with gnd_"),
        ("{name: a, key: 'gnd_hunter2 x'}", "keys[0].key: a key is at most 256 printable"),
        ("{name: a, key: 'gnd_hunter2,x'}", "keys[0].key: a key is at most 256 printable"),
        (f"{{name: a, key: gnd_{'x' * 253}}}", "keys[0].key: a key is at most 256 printable"),
        ("{name: a, key: gnd_hunter2}, {name: b, key: gnd_hunter2}", "keys[1].key: is the same key as keys[0].key"),
        ("{name: a, key: gnd_1}, {name: a, key: gnd_2}", "keys[1].name: is also that of keys[0]"),
        ("{name: a, key: gnd_1, role: amin}", "found 'amin'; did you mean admin?"),
        ("{name: a, key: gnd_1, allowed_models: ['${NONE:-}']}", "allowed_models[0]: expected text, found nothing"),
        ("{name: a, key: gnd_1, allowed_models: x}", "allowed_models: expected a list, found 'x'"),
    ],
)  # fmt: skip
def test_a_key_that_cannot_work_is_refused(problems, keys, expected):
    (problem,) = problems(f"keys: [{keys}]")

    assert expected in problem
    assert "hunter2" not in problem


ISSUER = "name: a, audiences: [x], issuer: 'https://a.example'"


@pytest.mark.parametrize(
    ("issuers", "expected"),
    [
        ("{name: a, issuer: 'https://a.example'}", "[0].audiences: is required"),
        ("{name: a, audiences: [], issuer: 'https://a.example'}", "[0].audiences: an issuer needs at least one"),
        ("{name: 'a:b', audiences: [x], issuer: 'https://a.example'}", "[0].name: expected up to 32"),
        ("{name: a, audiences: [x], issuer: 'http://a.example'}", "[0].issuer: expected https://"),
        ("{name: a, audiences: [x], issuer: a}", "or set jwks_url"),
        (f"{{{ISSUER}, jwks_url: 'http://a.example/keys'}}", "[0].jwks_url: expected https://"),
        (f"{{{ISSUER}, algorithms: [HS256]}}", "[0].algorithms[0]: expected one of ES256"),
        (f"{{{ISSUER}, algorithms: [none]}}", "[0].algorithms[0]: expected one of ES256"),
        (f"{{{ISSUER}, algorithms: []}}", "[0].algorithms: an issuer needs at least one"),
        (f"{{{ISSUER}, leeway: 1h}}", "[0].leeway: expected a duration from 0 to 300"),
        (f"{{{ISSUER}, roles: [{{value: x, role: amin}}], claims: {{role: r}}}}", "did you mean admin?"),
        (f"{{{ISSUER}, roles: [{{value: x, role: admin}}]}}", "[0].claims.role: is required"),
        (f"{{{ISSUER}, default_role: null}}", "[0].default_role: without roles"),
        (f"{{{ISSUER}, organizations: [acme]}}", "[0].claims.org: is required"),
        (f"{{{ISSUER}}}, {{name: b, audiences: [x], issuer: 'https://a.example'}}", "[1].issuer: is also that of"),
        (f"{{{ISSUER}}}, {{name: a, audiences: [x], issuer: 'https://b.example'}}", "[1].name: is also that of"),
    ],
)  # fmt: skip
def test_an_issuer_that_cannot_work_is_refused(problems, issuers, expected):
    (problem,) = problems(f"auth: {{issuers: [{issuers}]}}")

    assert expected in problem


def test_an_issuer_on_this_machine_may_do_without_tls(read):
    for host in ("localhost:8000", "127.0.0.1", "[::1]:1"):
        issuer = f"{{name: a, audiences: [x], issuer: 'http://{host}'}}"
        assert read(f"auth: {{issuers: [{issuer}]}}").auth.issuers


@pytest.mark.parametrize(
    "text",
    [
        f"keys: [{CANARY}]",
        "keys: [AKIAcanary0123456789ABCDEFGHIJ]",
        "keys: [sk-canary]",
        f"keys: {CANARY}",
        f"keys: [{{name: a, key: '{CANARY} '}}]",
        f"keys: [{{name: a, key: gnd_1, rpm_limit: {CANARY}}}]",
        f"keys: [{{name: a, key: gnd_1, role: {CANARY}}}]",
        "keys: [{name: a, key: gnd_1, role: '${CANARY}'}]",
        "keys: [{name: a, key: gnd_1, allowed_models: '${CANARY}'}]",
        f"server: {{addr: {CANARY}}}",
        "server: {addr: '${SHORT}'}",
        f"providers: [{{name: openai, api_key: x, base_url: {CANARY}}}]",
        f"providers: [{{name: x, type: {CANARY}}}]",
        f"providers: [{{name: x, type: openai, hosting: azure, auth: {{type: entra, client_secret: '{CANARY} '}}}}]",
        f"providers: [{{name: bedrock, region: '{CANARY}', auth: {{session_token: {CANARY}, authority: {CANARY}}}}}]",
        f"providers: [{{name: openai, api_key: [{CANARY}]}}]",
        f"routes: [{{model_alias: a, targets: [{{provider: {CANARY}, model: m}}]}}]",
        f"keys:\n  key: {CANARY}: b",
        f"key: '{CANARY}",
        f"key: {CANARY}\n  \tb",
    ],
)
def test_no_secret_is_ever_in_an_error(problems, text):
    found = "\n".join(problems(text, CANARY=CANARY, SHORT="canary"))

    assert "canary" not in found


def test_a_file_that_cannot_be_read_is_a_problem_like_any_other(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.yaml", {})
    assert str(caught.value).endswith(
        "none.yaml: cannot be read: No such file or directory"
    )

    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"database: {dsn: \xfc}")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(latin, {})


@pytest.mark.parametrize(
    "text", ["[" * 5000, "a: &a {<<: *a}\ncache: &c {<<: *c}", "providers: &p [*p]"]
)
def test_nesting_without_end_is_an_error(problems, text):
    assert problems(text)


@settings(deadline=None, derandomize=True)
@given(st.text(alphabet="{}[]:,-&*<> \n\t$'\"!#|abcservkynmlp0.", max_size=60))
def test_whatever_the_text_it_is_valid_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text)

    # Anything else that it raised would fail the test.
    with suppress(ConfigError):
        assert isinstance(load(path, {}), config.Config)


# The rest


@pytest.mark.parametrize(
    ("addr", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        (":8080", ("", 8080)),
        ("[::1]:0", ("::1", 0)),
        ("gateway.local:65535", ("gateway.local", 65535)),
    ],
)
def test_an_address_is_split_at_its_port(addr, expected):
    assert split_address(addr) == expected


@pytest.mark.parametrize(
    "addr",
    ["", "8080", "x:", "x:65536", "x:-1", "::1:80", "a b:80", "x:80/y", "[:80", "x:8o"],
)
def test_what_is_no_address_is_refused(addr):
    with pytest.raises(ValueError):
        split_address(addr)


def test_the_database_is_known_without_the_secrets_of_the_rest(tmp_path):
    path = tmp_path / "gandalf.yaml"
    path.write_text(
        "database: {dsn: '${DB}'}\nproviders: [{name: openai, api_key: '${K}'}]"
    )

    assert load_database(path, {"DB": "x.db"}).dsn == "x.db"
    with pytest.raises(
        ConfigError, match=r"1:17: database\.dsn: environment variable DB is not set"
    ):
        load_database(path, {})
    path.write_text("server: {}")
    assert load_database(path, {}) == config.Database()
    path.write_text("[]")
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_database(path, {})


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        ("demo.yaml", {}),
        ("gandalf.yaml", {"OPENAI_API_KEY": "sk-1", "WEB_APP_KEY": CANARY}),
    ],
)
def test_the_files_that_come_with_it_are_valid(name, environ):
    loaded = load(ROOT / "configs" / name, environ)

    assert loaded.providers
    assert loaded.routes


VARIABLES = {
    "OPENAI_API_KEY": "sk-1",
    "WEB_APP_KEY": CANARY,
    "ANTHROPIC_API_KEY": "sk-2",
    "GEMINI_API_KEY": "key",
    "GROQ_API_KEY": "key",
    "AZURE_RESOURCE": "acme",
    "AZURE_TENANT_ID": "tenant",
    "AZURE_CLIENT_ID": "client",
    "AZURE_CLIENT_SECRET": "secret",
}


def test_what_is_commented_out_in_the_example_is_valid_too(tmp_path):
    text = (ROOT / "configs" / "gandalf.yaml").read_text()
    before, providers = text.split("\nproviders:\n")
    # Of comments, those that are YAML: a key, or an item that begins with one.
    uncommented = re.sub(
        r"^  # (?= *(?:- )?[a-z_]+:(?: |$))", "  ", providers, flags=re.M
    )
    path = tmp_path / "gandalf.yaml"
    path.write_text(f"{before}\nproviders:\n{uncommented}")

    loaded = load(path, VARIABLES)

    places = {(provider_type(p), hosting_of(p)) for p in loaded.providers}
    assert places >= {
        ("anthropic", ""),
        ("gemini", ""),
        ("ollama", ""),
        ("openai", "azure"),
        ("gemini", "vertex"),
        ("bedrock", "bedrock"),
    }
    assert "claude" in [route.model_alias for route in loaded.routes]


EXAMPLES = [
    (page.name, block)
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S)
]


@pytest.mark.parametrize(("page", "text"), EXAMPLES)
def test_an_example_on_a_page_is_valid(read, page, text):
    assert read(text, **VARIABLES) != config.Config()


def test_the_reference_in_the_docs_is_the_generated_one():
    committed = (ROOT / "docs" / "configuration.md").read_text()

    assert committed == reference.render(), (
        "run: python -m gandalf.config.reference > docs/configuration.md"
    )


def test_the_reference_can_be_written_by_hand():
    command = [sys.executable, "-m", "gandalf.config.reference"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout == reference.render()


def test_every_setting_says_what_it_means():
    # ``render`` looks up the meaning of each, and would not find it.
    page = reference.render()
    names = [f.name for f in msgspec.structs.fields(config.Provider)]

    assert all(f"| `{name}` |" in page for name in names)
    assert "|  |\n" not in page


# Prices


def test_a_price_is_read_exactly_and_held_in_pico_usd(read):
    text = """
prices:
  overrides:
    - {model: m, input: 0.1, output: "0.2", cache_read: 1.0e-6, images: 0.04}
"""
    [price] = read(text).prices.overrides

    assert (price.input, price.output, price.cache_read) == (100_000, 200_000, 1)
    assert price.images == 40_000_000_000


def test_a_price_that_is_no_whole_pico_usd_is_refused(problems):
    [problem] = problems("prices: {overrides: [{model: m, input: 0.0000001}]}")

    assert "prices.overrides[0].input: expected an amount of USD" in problem


def test_a_price_that_must_be_of_another_unit_is_refused(problems):
    [problem] = problems("prices: {overrides: [{model: m, output: 2500000}]}")

    assert "0 to 100000 for a million units" in problem


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ("{model: m}", "names no price"),
        ("{model: m, input: 1, provider: nowhere}", "there is no such provider"),
        ("{model: m, input: 1, service_tier: flex}", "also needs prices without"),
        ("{model: m, input: 1}, {model: m, output: 1}", "is for the same as"),
        (
            """{model: m, input: 1},
               {model: m, input: 1, service_tier: flex, above_prompt_tokens: 9}""",
            "the service tier flex also needs",
        ),
    ],
)
def test_overrides_that_leave_a_gap_or_a_doubt_are_refused(
    problems, overrides, problem
):
    [found] = problems(f"prices: {{overrides: [{overrides}]}}")

    assert problem in found


def test_a_price_file_must_exist(problems):
    [problem] = problems("prices: {file: /nowhere/prices.json}")

    assert "prices.file: there is no such file" in problem


# Budgets


def test_budgets_are_read_exactly(read):
    config = read(
        A_PROVIDER
        + "budgets:\n"
        + "  - {name: a, scope: team, id: blue, limit: 0.1, window: 7d,"
        + " time_zone: Europe/Berlin, hard: no, thresholds: [75, 100]}\n"
        + "  - {name: b, scope: global, limit: 2_000_000, unit: tokens}\n"
        + "keys: [{name: k, key: gnd_x, max_budget: 12.345678901, tags: [a, b=c]}]\n"
    )

    one, other = budgets_of(config)
    assert (one.limit, one.hard, one.thresholds) == (100_000_000, False, (75, 100))
    assert one.rule.name == "team=blue/7d@Europe/Berlin/usd"
    assert (other.limit, other.rule.name) == (2_000_000, "global/month@UTC/tokens")
    assert max_budget_of(config.keys[0].max_budget) == 12_345_678_901


@pytest.mark.parametrize(
    ("fields", "key", "message"),
    [
        (
            "limit: '1.0000000001'",
            "limit",
            "expected an amount of USD with up to 9 decimals, found '1.0000000001'",
        ),
        ("limit: -1", "limit", "expected an amount of USD"),
        ("limit: lots", "limit", "expected an amount of USD"),
        ("limit: 1.5, unit: tokens", "limit", "expected a whole number of tokens"),
        ("limit: 1, window: year", "window", "expected lifetime, hour, day, week"),
        ("limit: 1, window: 0d", "window", "expected lifetime, hour, day, week"),
        (
            "limit: 1, time_zone: Berlin",
            "time_zone",
            "expected the name of a time zone",
        ),
        ("limit: 1, thresholds: [80, 50]", "thresholds", "must ascend"),
        ("limit: 1, thresholds: [0]", "thresholds[0]", "expected a whole number"),
        ("limit: 1, id: x", "id", "the global scope has no ids"),
        ("limit: 1, unit: eur", "unit", "expected one of"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(problems, fields, key, message):
    text = A_PROVIDER + f"budgets: [{{name: b, scope: global, {fields}}}]\n"

    [problem] = problems(text)

    assert f"budgets[0].{key}: {message}" in problem


def test_other_mistakes_around_budgets_are_told(problems):
    text = A_PROVIDER + (
        "budgets:\n"
        "  - {name: b, scope: provider, id: nobody, limit: 1}\n"
        "  - {name: b, scope: key, limit: 1}\n"
        "  - {name: max_budget, scope: key, limit: 1}\n"
        "keys: [{name: k, key: gnd_x, max_budget: x, tags: ['a b']}]\n"
        "notifications: {webhooks: [{url: 'ftp://x'}]}\n"
    )

    found = "\n".join(problems(text))

    assert "budgets[0].id: there is no provider 'nobody'" in found
    assert "budgets[1].name: is also that of budgets[0]" in found
    assert "budgets[2].name: is the name of the budgets that keys have" in found
    assert "keys[0].max_budget: expected an amount of USD" in found
    assert "keys[0].tags[0]: expected up to 64 letters" in found
    assert "notifications.webhooks[0].url: " in found
