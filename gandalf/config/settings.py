"""The configuration: every setting with its default and unit, once.

Durations are float seconds in the structs; in YAML also ``"1m30s"``, ``"250ms"``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gandalf.domain.identity import Role
from gandalf.domain.secret import Secret


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections."""


class Tls(Struct):
    """Serves HTTPS instead of HTTP."""

    cert_file: str
    key_file: str


class Server(Struct):
    """The listener and its limits."""

    addr: str = "127.0.0.1:8080"
    """``host:port``; ``:8080`` listens on every address."""
    read_timeout: float = 30.0
    """Seconds a client may take to send a request's body."""
    header_timeout: float = 5.0
    """Seconds a client may take to send a request's header section."""
    write_timeout: float = 120.0
    """Seconds a client may leave the bytes of an answer unread."""
    idle_timeout: float = 120.0
    """Seconds a connection may stay open between requests."""
    shutdown_timeout: float = 30.0
    """Seconds that running requests get to finish once the gateway stops."""
    keep_alive_interval: float = 15.0
    """Seconds of silence on a stream after which a keep-alive comment is sent."""
    max_body_bytes: int = 32 * 1024 * 1024
    """Size of a request body above which it is refused with 413."""
    max_header_bytes: int = 32 * 1024
    """Size of a header section above which it is refused with 431."""
    max_body_bytes_total: int = 1024 * 1024 * 1024
    """Sum of all request bodies in memory above which requests are shed with 503."""
    max_connections: int = 10_000
    """Open client connections above which new ones are refused with 503."""
    backlog: int = 4096
    tls: Tls | None = None


class Database(Struct):
    """Where keys and usage are kept."""

    dsn: str = "gandalf.db"
    """Path of the SQLite file."""


class Auth(Struct):
    """Who may call, besides the keys of ``keys`` and of the database."""

    admin_key: Secret | None = None
    """A key with the role admin; usually ``${GANDALF_ADMIN_KEY:-}``. The environment
    variable ``GANDALF_ADMIN_KEY`` itself is honoured even when this is not set."""
    generate_admin_key: bool = False
    """Make an admin key at the first start if there is no key at all; show it once."""


class RateLimits(Struct):
    """Limits of keys that have none of their own. 0 means unlimited."""

    default_rpm: int = 60
    default_tpm: int = 100_000


class Cache(Struct):
    """The response cache."""

    enabled: bool = True
    max_size: int = 10_000
    """Entries."""
    max_bytes: int = 64 * 1024 * 1024
    """Bytes of all entries together."""
    max_entry_bytes: int = 1024 * 1024
    """An answer larger than this is not kept."""
    default_ttl: float = 300.0


class CircuitBreaker(Struct):
    """When a target is left alone for a while. See docs/architecture.md."""

    enabled: bool = True
    error_threshold: float = 0.30
    min_samples: int = 10
    window_seconds: int = 60
    open_timeout: float = 30.0


class Retries(Struct):
    """Second tries, on the same target or on the next one."""

    max_attempts: int = 3
    """Sends for one request, over all targets, at the most."""
    base_delay: float = 0.1
    max_delay: float = 10.0
    budget_ratio: float = 0.2
    """Retries allowed as a share of the requests of the last ten seconds."""
    budget_min_per_second: float = 1.0
    """Retries that are always allowed, however few requests there are."""


class Usage(Struct):
    """The journal that every finished request is written to first."""

    journal_dir: str = ""
    """Empty means ``<database.dsn>.journal`` beside the database."""
    segment_bytes: int = 16 * 1024 * 1024
    flush_every: float = 0.2
    """Seconds after which records go from the journal to the database."""


class Metrics(Struct):
    """Prometheus metrics at ``/metrics``."""

    enabled: bool = True
    public: bool = False
    """Whether ``/metrics`` needs no key. Otherwise: a key that may view all usage."""


class Tracing(Struct):
    """OpenTelemetry spans over OTLP/HTTP."""

    enabled: bool = False
    endpoint: str = "http://localhost:4318/v1/traces"
    sample_rate: float = 0.1
    """Share of requests traced, 0 to 1, when the caller does not decide it."""


class Logging(Struct):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Telemetry(Struct):
    """What the gateway shows of itself."""

    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()
    logging: Logging = Logging()


class Timeouts(Struct):
    """The limits of one attempt at an upstream, all separate. None: no limit."""

    connect: float | None = 5.0
    response_headers: float | None = 60.0
    """From the request's last byte to the response's header section."""
    first_token: float | None = 120.0
    """From the response headers to the first content of a stream."""
    idle: float | None = 60.0
    """Between two pieces of a response."""
    total: float | None = None


class ProviderAuth(Struct):
    """How the gateway proves itself to an upstream."""

    type: Literal["api_key", "gcp_oauth", "aws_sigv4", ""] = ""
    """Empty: what the hosting implies."""
    api_key: Secret | None = None


class Disconnect(Struct):
    """What happens to an upstream when its client has left."""

    policy: Literal["cancel", "drain"] = "cancel"
    """``drain`` reads on to the end, for providers that bill the rest anyway."""
    max_seconds: float = 60.0
    max_concurrent: int = 100


class Simulation(Struct):
    """How a ``simulated`` provider behaves."""

    latency: float = 0.0
    """Seconds before the response headers."""
    tokens_per_second: float = 0.0
    """Speed of a stream. 0 means everything at once."""
    completion_tokens: int = 16
    """Length of an answer, if the request does not ask for less."""
    error_rate: float = 0.0
    """Share of requests, 0 to 1, answered with ``error_status``."""
    error_status: int = 500
    cut_rate: float = 0.0
    """Share of answers, 0 to 1, that break off in the middle."""


class Provider(Struct):
    """One upstream account at one place."""

    name: str
    """Instance name: label in routes, metrics and records."""
    type: str = ""
    """``openai``, ``simulated``. Empty: the name."""
    base_url: str = ""
    """Empty: the type's public address."""
    api_key: Secret | None = None
    models: tuple[str, ...] = ()
    """Models to serve by their own names, without a route."""
    priority: int = 0
    weight: int = 1
    max_rps: int = 0
    enabled: bool = True
    timeout_ms: int = 0
    """Total time limit of an attempt, in milliseconds. 0: ``timeouts.total``."""
    timeouts: Timeouts = Timeouts()
    hosting: Literal["", "azure", "vertex", "bedrock"] = ""
    region: str = ""
    project: str = ""
    auth: ProviderAuth = ProviderAuth()
    max_connections: int = 1000
    keepalive_expiry: float = 30.0
    """Seconds an unused upstream connection is kept."""
    transport: Literal["lean", "httpx"] = "lean"
    """``httpx`` for proxies (from the environment) and HTTP/2; slower."""
    on_client_disconnect: Disconnect = Disconnect()
    simulation: Simulation = Simulation()


class RouteTarget(Struct):
    """One place a route can send a request to."""

    provider: str
    model: str
    priority: int = 0
    weight: int = 1


class Route(Struct):
    """A model name for clients, and the targets behind it."""

    model_alias: str
    strategy: Literal["priority"] = "priority"
    cache_ttl_s: int = 0
    """Seconds. 0 means ``cache.default_ttl``."""
    targets: tuple[RouteTarget, ...]


class Key(Struct):
    """A client key kept in the configuration."""

    name: str
    key: Secret
    org_id: str = "default"
    role: Role = Role.MEMBER
    allowed_models: tuple[str, ...] = ()
    rpm_limit: int | None = None
    tpm_limit: int | None = None


class Config(Struct):
    """The whole configuration file."""

    server: Server = Server()
    database: Database = Database()
    auth: Auth = Auth()
    rate_limits: RateLimits = RateLimits()
    cache: Cache = Cache()
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    retries: Retries = Retries()
    usage: Usage = Usage()
    telemetry: Telemetry = Telemetry()
    providers: tuple[Provider, ...] = ()
    routes: tuple[Route, ...] = ()
    keys: tuple[Key, ...] = ()
