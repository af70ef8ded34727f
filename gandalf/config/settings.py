"""Every setting with its default, unit and meaning, once.

A duration is float seconds in the structs; in YAML it is written ``30s``, ``1m30s``,
``250ms``, or as a number of seconds. docs/configuration.md is made from this module.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gandalf.domain.identity import Role
from gandalf.domain.secret import Secret

# What a number means, for the loader (which reads units) and for the reference.
_DURATION = {"unit": "duration"}
_BYTES = {"unit": "bytes"}
_USD = {"unit": "usd"}
_USD_PER_MILLION = {"unit": "usd_per_million"}

# Above these a price is most likely one of another unit: per token, or in cents.
MAX_USD_PER_MILLION = 100_000
MAX_USD = 1_000

Seconds = Annotated[float, Meta(ge=0, extra=_DURATION)]
PositiveSeconds = Annotated[float, Meta(gt=0, extra=_DURATION)]
Share = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]
PositiveCount = Annotated[int, Meta(ge=1)]
PerMillion = Annotated[
    int, Meta(ge=0, le=MAX_USD_PER_MILLION * 10**6, extra=_USD_PER_MILLION)
]
"""Written in USD for a million units, held in pico-USD for one."""
PerUnit = Annotated[int, Meta(ge=0, le=MAX_USD * 10**12, extra=_USD)]
"""Written in USD for one unit, held in pico-USD."""
SizeBytes = Annotated[int, Meta(ge=1, extra=_BYTES)]
Priority = Annotated[int, Meta(ge=0)]
Percent = Annotated[int, Meta(ge=1, le=1000)]


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Serves HTTPS instead of HTTP."""

    cert_file: str
    """Path of the certificate chain, PEM."""
    key_file: str
    """Path of the certificate's private key, PEM."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The listener and its limits."""

    addr: str = "127.0.0.1:8080"
    """``host:port``; ``:8080`` listens on every address."""
    read_timeout: PositiveSeconds = 30.0
    """How long a client may take to send a request's body."""
    header_timeout: PositiveSeconds = 5.0
    """How long a client may take to send a request's header section."""
    write_timeout: PositiveSeconds = 120.0
    """How long a client may leave the bytes of an answer unread."""
    idle_timeout: PositiveSeconds = 120.0
    """How long a connection may stay open between requests."""
    shutdown_timeout: Seconds = 30.0
    """How long running requests get to finish once the gateway stops."""
    keep_alive_interval: PositiveSeconds = 15.0
    """Silence on a stream after which a keep-alive comment is sent."""
    max_body_bytes: SizeBytes = 32 * 1024 * 1024
    """Size of a request body above which it is refused with 413, also once decoded."""
    max_header_bytes: SizeBytes = 32 * 1024
    """Size of a header section above which it is refused with 431."""
    max_body_bytes_total: SizeBytes = 1024 * 1024 * 1024
    """Sum of all request bodies in memory above which requests are shed with 503."""
    max_upload_bytes: SizeBytes = 512 * 1024 * 1024
    """The same for forms and files, which are passed on while they arrive."""
    max_connections: PositiveCount = 10_000
    """Open client connections above which new ones are refused with 503."""
    backlog: PositiveCount = 4096
    """Connections that the operating system may hold until they are accepted."""
    tls: Tls | None = None
    """Certificate to serve HTTPS with. Not set: plain HTTP."""


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """Where keys and usage are kept."""

    dsn: str = "gandalf.db"
    """Path of the SQLite file; relative to the folder of the configuration file."""


class ClaimPaths(msgspec.Struct, frozen=True, kw_only=True):
    """Where the claims of a token stand, as dotted paths: ``realm_access.roles``.

    A claim whose own name has dots is found as well. Empty: the token does not say it.
    """

    org: str = ""
    """The organisation's id. Not in the token: ``org_id`` of the issuer."""
    team: str = ""
    """The team's id: text, or a list with one item."""
    user: str = ""
    """The user's id; usually ``sub`` or ``email``."""
    role: str = ""
    """Text or a list of texts, which ``roles`` translates."""
    tags: str = ""
    """Tags of each request: text, a list of texts, or an object of names and values."""


class RoleRule(msgspec.Struct, frozen=True, kw_only=True):
    """One value of the role claim and the role that it gives."""

    value: str
    """The claim's value, or one of its values, exactly."""
    role: Role
    """The role here."""


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenID Connect issuer whose JWTs are accepted as bearer tokens.

    See docs/authentication.md.
    """

    name: str
    """Unique; tokens are ``jwt:<name>:<sub>`` in usage records."""
    issuer: str
    """The ``iss`` claim, exactly."""
    audiences: tuple[str, ...]
    """Accepted values of the ``aud`` claim; a token must have one of them."""
    jwks_url: str = ""
    """Where the issuer's public keys are. Empty: OpenID Connect discovery tells it, at
    ``<issuer>/.well-known/openid-configuration``. HTTPS, or HTTP on this machine."""
    algorithms: tuple[
        Literal[
            "RS256",
            "RS384",
            "RS512",
            "PS256",
            "PS384",
            "PS512",
            "ES256",
            "ES384",
            "ES512",
            "Ed25519",
        ],
        ...,
    ] = ("RS256",)
    """Signature algorithms that the issuer uses; others are refused."""
    leeway: Annotated[float, Meta(ge=0, le=300, extra=_DURATION)] = 30.0
    """How far the issuer's clock and this one may differ."""
    claims: ClaimPaths = ClaimPaths()
    roles: tuple[RoleRule, ...] = ()
    """The first one that the role claim has decides."""
    default_role: Role | None = Role.MEMBER
    """The role of tokens that none of ``roles`` fits. ``null``: they are refused."""
    org_id: str = "default"
    """The organisation of tokens that name none."""
    organizations: tuple[str, ...] = ()
    """Organisations that the issuer's tokens may name. Empty: only ``org_id``.
    ``*``: every one."""
    create_tenants: bool = False
    """Whether a team or a user that a token names is made when it is first seen.
    Otherwise a token that names an unknown one is refused. Organisations are never
    made."""
    allow_operator: bool = False
    """Whether a token may have the role admin in the organisation ``default``, which is
    to administer the whole gateway."""


class Auth(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call, besides the keys of ``keys`` and of the database."""

    admin_key: Secret | None = None
    """A key with the role admin; usually ``${GANDALF_ADMIN_KEY:-}``. The environment
    variable ``GANDALF_ADMIN_KEY`` itself is honoured even when this is not set."""
    generate_admin_key: bool = False
    """Make an admin key at the first start if there is no key at all; show it once."""
    issuers: tuple[Issuer, ...] = ()
    """Issuers of JWTs that are accepted beside keys."""


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of keys that have none of their own. 0 means unlimited."""

    default_rpm: Count = 60
    """Requests per minute."""
    default_tpm: Count = 100_000
    """Tokens per minute."""


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """The response cache."""

    enabled: bool = True
    """Whether answers that may be repeated are kept and replayed."""
    max_size: PositiveCount = 10_000
    """Entries."""
    max_bytes: SizeBytes = 64 * 1024 * 1024
    """All entries together."""
    max_entry_bytes: SizeBytes = 1024 * 1024
    """An answer larger than this is not kept."""
    default_ttl: PositiveSeconds = 300.0
    """How long an answer is kept when its route does not say."""


class CircuitBreaker(msgspec.Struct, frozen=True, kw_only=True):
    """When a target is avoided for a while. See docs/failover.md."""

    enabled: bool = True
    """Whether failures, rate limits and refused credentials are remembered between
    requests. If not, every request tries its targets in order."""
    error_threshold: Share = 0.50
    """Share of failed attempts in the window at which a breaker opens."""
    min_samples: PositiveCount = 20
    """Attempts in the window below which the share is not looked at, and above which as
    many failures in a row are needed."""
    consecutive_failures: Count = 5
    """Failures in a row that open a breaker while there are fewer than ``min_samples``
    attempts in the window. 0: no row opens it."""
    window_seconds: Annotated[int, Meta(ge=1, le=60)] = 60
    """Seconds over which attempts are counted."""
    open_timeout: PositiveSeconds = 30.0
    """The longest wait between two probes of an open target; the shortest is 1s."""
    max_ejection: PositiveSeconds = 30.0
    """The longest time for which a rate limit or refused credentials are respected
    without asking again. A trickle of requests is sent meanwhile."""


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """Second tries, on the same target or on the next one."""

    max_attempts: PositiveCount = 3
    """Sends for one request, over all targets, at the most."""
    base_delay: Seconds = 0.1
    """Upper bound of the wait before the first retry; it doubles with each."""
    max_delay: Seconds = 10.0
    """Upper bound of the wait before any retry."""
    budget_ratio: Share = 0.2
    """Retries allowed as a share of the requests of the last ten seconds."""
    budget_min_per_second: Rate = 1.0
    """Retries that are always allowed, however few requests there are."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The journal that every finished request is written to first."""

    journal_dir: str = ""
    """Relative to the folder of the configuration file. Empty means
    ``<database.dsn>.journal`` beside the database."""
    segment_bytes: SizeBytes = 16 * 1024 * 1024
    """Size at which the journal goes on in a new file."""
    flush_every: PositiveSeconds = 0.2
    """How long records wait in the journal before they go to the database."""
    keep_rows: PositiveSeconds | None = None
    """Age at which the record of a request is deleted; its part in sums is kept."""
    keep_rollups: PositiveSeconds | None = None
    """Age at which sums of usage are deleted."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Prometheus metrics at ``/metrics``."""

    enabled: bool = True
    """Whether the page exists."""
    public: bool = False
    """Whether ``/metrics`` needs no key. Otherwise: a key that may view all usage."""


class Tracing(msgspec.Struct, frozen=True, kw_only=True):
    """OpenTelemetry spans over OTLP/HTTP."""

    enabled: bool = False
    """Whether spans are made and sent."""
    endpoint: str = "http://localhost:4318/v1/traces"
    """Where the collector takes spans over HTTP."""
    sample_rate: Share = 0.1
    """Share of requests traced when the caller does not decide it."""


class Logging(msgspec.Struct, frozen=True, kw_only=True):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious events that are logged."""
    format: Literal["console", "json"] = "console"
    """``console`` for people, ``json`` for one object a line."""


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway shows of itself."""

    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()
    logging: Logging = Logging()


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one attempt at an upstream, all separate. ``null``: no limit."""

    pool: PositiveSeconds | None = 5.0
    """To wait for one of ``max_connections``."""
    connect: PositiveSeconds | None = 2.0
    """To open a connection, TLS included. A request that has another target tries to
    connect to that as well after 250ms."""
    response_headers: PositiveSeconds | None = 60.0
    """From the request's last byte to the response's header section."""
    first_token: PositiveSeconds | None = 120.0
    """From the response headers to the first content of a stream."""
    first_token_failover: PositiveSeconds | None = 12.0
    """The same where another target is left to try, for a model that is known not to
    think and a request of less than 64 KiB."""
    idle: PositiveSeconds | None = 60.0
    """Between two pieces of a response."""
    total: PositiveSeconds | None = None
    """From the start of the attempt to its end, long streams included."""


class ProviderAuth(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway proves itself to an upstream."""

    type: Literal[
        "",
        "api_key",
        "bearer",
        "entra",
        "managed_identity",
        "gcp_oauth",
        "aws_sigv4",
    ] = ""
    """``api_key`` is sent in the provider's own header, ``bearer`` as a token: a
    Bedrock API key, or an access token that something else keeps fresh. ``entra`` are
    client credentials of Microsoft Entra ID, ``managed_identity`` is the one of the
    Azure machine. ``gcp_oauth`` is Google's application default credentials, or
    ``credentials_file``. ``aws_sigv4`` signs with the keys given here, or else with
    what AWS's default chain finds. Empty: what the hosting implies."""
    api_key: Secret | None = None
    """The key or the token. Wins over the provider's own ``api_key``."""
    tenant_id: str = ""
    """Entra: the directory."""
    client_id: str = ""
    """Entra: the application. Managed identity: the user-assigned one to use."""
    client_secret: Secret | None = None
    """Entra: the application's secret."""
    scope: str = ""
    """Entra and managed identity: what the token is for. Empty:
    ``https://cognitiveservices.azure.com/.default``."""
    authority: str = ""
    """Entra: where tokens are issued, for sovereign clouds. Managed identity: the
    metadata service. Empty: the public cloud's, or what Azure put into the
    environment."""
    credentials_file: str = ""
    """Google: path of a service account's key, JSON. Empty: the application default
    credentials, among them what ``GOOGLE_APPLICATION_CREDENTIALS`` names."""
    access_key_id: str = ""
    """AWS: id of an access key. Empty: AWS's default chain is asked, which knows
    environment, shared files, web identities, containers and instances."""
    secret_access_key: Secret | None = None
    """AWS: the secret of ``access_key_id``."""
    session_token: Secret | None = None
    """AWS: goes with a temporary ``access_key_id``."""
    profile: str = ""
    """AWS: profile of the shared files, which may assume a role."""


class Disconnect(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to an upstream when its client has left."""

    policy: Literal["cancel", "drain"] = "cancel"
    """``drain`` reads on to the end, for providers that bill the rest anyway."""
    max_seconds: Seconds = 60.0
    """How long a drain may go on."""
    max_concurrent: Count = 100
    """Drains at the same time, above which an upstream is cancelled all the same."""


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """How a ``simulated`` provider behaves."""

    latency: Seconds = 0.0
    """Wait before the response headers."""
    tokens_per_second: Rate = 0.0
    """Speed of a stream. 0 means everything at once."""
    completion_tokens: PositiveCount = 16
    """Length of an answer, if the request does not ask for less."""
    error_rate: Share = 0.0
    """Share of requests answered with ``error_status``."""
    error_status: Annotated[int, Meta(ge=400, le=599)] = 500
    """HTTP status of the simulated errors."""
    cut_rate: Share = 0.0
    """Share of answers that break off in the middle."""


class Compat(msgspec.Struct, frozen=True, kw_only=True):
    """What an OpenAI-compatible server takes, where it is not what the type says.

    ``null`` leaves a rule to the type; [vendors.md](vendors.md) shows those of each.
    Requests of OpenAI's clients pass unchanged but for ``refused_fields``.
    """

    reasoning_history: Literal["none", "reasoning_content", "reasoning"] | None = None
    """Member of an assistant message that hands earlier thinking back."""
    reasoning_required: bool | None = None
    """Whether each assistant message must have that member, if only as empty text."""
    thinking_switch: (
        Literal[
            "reasoning_effort", "thinking", "enable_thinking", "chat_template_kwargs"
        ]
        | None
    ) = None
    """Field that turns thinking on and off."""
    efforts: tuple[str, ...] | None = None
    """Values that ``reasoning_effort`` may have. Empty: it is not sent."""
    tool_call_ids: Literal["any", "alphanumeric9"] | None = None
    """Form of tool-call ids; ``alphanumeric9`` is nine letters and digits."""
    text_content: Literal["parts", "string"] | None = None
    """Form of a content of several texts."""
    refused_fields: tuple[str, ...] | None = None
    """Fields to leave out, and to name in ``x-gandalf-dropped``."""
    seed_field: str | None = None
    """Name of the field for a seed."""
    prefill_field: Literal["none", "prefix", "partial"] | None = None
    """Member that marks the last assistant message as one to continue."""
    limit_field: Literal["by_model", "max_tokens", "max_completion_tokens"] | None = (
        None
    )
    """Field for the output limit; ``by_model`` follows OpenAI's model names."""
    allowed_tools: bool | None = None
    """Whether ``tool_choice`` can name several tools."""
    developer_role: bool | None = None
    """Whether there is a role ``developer``; else it is ``system``."""
    late_system: bool | None = None
    """Whether a system message may follow another one; else it becomes the user's."""
    user_after_tool: bool | None = None
    """Whether a user message may follow a tool message."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a model can do, where the catalogue does not know it or is wrong."""

    name: str
    """What the provider calls the model, as in a route's target."""
    context_window: PositiveCount | None = None
    """Tokens, prompt and answer together."""
    output_limit: PositiveCount | None = None
    """Tokens that one answer may have."""
    images: bool | None = None
    """Whether it reads images."""
    documents: bool | None = None
    """Whether it reads PDF files."""
    audio: bool | None = None
    """Whether it hears sound."""
    video: bool | None = None
    """Whether it sees video."""
    tools: bool | None = None
    """Whether it can call tools."""
    thinking: bool | None = None
    """Whether it can think before it answers."""
    structured_output: bool | None = None
    """Whether the provider holds its answer to a JSON schema."""
    temperature: bool | None = None
    """Whether sampling parameters may be set."""


class ModelPrice(msgspec.Struct, frozen=True, kw_only=True):
    """Unit prices of one model, instead of those in the price list.

    Token classes without a price of their own are charged as the class that they are
    part of; see docs/money.md.
    """

    provider: str = ""
    """Name of the provider. Empty: the model at every provider."""
    model: str
    """What the provider calls the model, as in a route's target."""
    service_tier: str = ""
    """The service tier that the prices are for (``batch``, ``flex``, ``priority``).
    Empty: the standard one, which each model must have."""
    above_prompt_tokens: Count = 0
    """The prices hold for prompts longer than this. 0: for all."""
    input: PerMillion | None = None
    """Tokens sent in; USD for a million."""
    output: PerMillion | None = None
    """Tokens generated; USD for a million."""
    cache_read: PerMillion | None = None
    """Tokens read from a prompt cache; USD for a million."""
    cache_write: PerMillion | None = None
    """Tokens written to a prompt cache for its shorter lifetime; USD for a million."""
    cache_write_1h: PerMillion | None = None
    """Tokens written to a prompt cache for its longer lifetime; USD for a million."""
    reasoning: PerMillion | None = None
    """Tokens of reasoning; USD for a million."""
    audio_input: PerMillion | None = None
    """Tokens of audio sent in; USD for a million."""
    audio_output: PerMillion | None = None
    """Tokens of generated audio; USD for a million."""
    audio_cache_read: PerMillion | None = None
    """Tokens of audio read from a prompt cache; USD for a million."""
    image_input: PerMillion | None = None
    """Tokens of images sent in; USD for a million."""
    image_output: PerMillion | None = None
    """Tokens of generated images; USD for a million."""
    image_cache_read: PerMillion | None = None
    """Tokens of images read from a prompt cache; USD for a million."""
    video_input: PerMillion | None = None
    """Tokens of video sent in; USD for a million."""
    video_output: PerMillion | None = None
    """Tokens of generated video; USD for a million."""
    citation: PerMillion | None = None
    """Tokens of cited sources; USD for a million."""
    characters: PerMillion | None = None
    """Characters sent in (speech); USD for a million."""
    images: PerUnit | None = None
    """USD for one generated image."""
    audio_seconds: PerUnit | None = None
    """USD for one second of audio sent in."""
    requests: PerUnit | None = None
    """USD for one request, whatever it holds."""
    web_searches: PerUnit | None = None
    """USD for one web search that the provider makes."""
    file_searches: PerUnit | None = None
    """USD for one search in stored files that the provider makes."""
    rerank_searches: PerUnit | None = None
    """USD for one search of a reranking model."""


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """What models cost, where the built-in price list is not what you pay."""

    file: str = ""
    """Path of a price list that replaces the built-in one, in its format. Empty: the
    built-in one."""
    overrides: tuple[ModelPrice, ...] = ()
    """Prices that win over the price list, for the models that they name."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream account at one place."""

    name: str
    """Instance name, unique: label in routes, metrics and records."""
    type: str = ""
    """What it speaks, or the preset of a vendor; see below. Empty: the name."""
    base_url: str = ""
    """Empty: the public address of the type or of its hosting. Required for Azure: the
    resource's, ``https://NAME.openai.azure.com``; ``/openai`` or ``/openai/v1`` at its
    end is taken as said already."""
    api_key: Secret | None = None
    """Sent to the upstream; kept in memory only, never stored."""
    models: tuple[str, ...] = ()
    """Models to serve by their own names, without a route. ``claude-*`` stands for all
    names that begin so."""
    priority: Priority = 0
    """Lower is tried first, among providers that list the same model."""
    weight: PositiveCount = 1
    """Share of the traffic among providers of the same priority."""
    max_rps: Count = 0
    """Accepted for older files. Nothing is limited by it."""
    enabled: bool = True
    """A disabled provider is not connected to, and no route may name it."""
    timeout_ms: Count = 0
    """The older form of ``timeouts.total``, which wins. Milliseconds; 0: no limit."""
    timeouts: Timeouts = Timeouts()
    hosting: Literal["", "azure", "vertex", "bedrock"] = ""
    """The cloud that carries the provider. Empty: the provider itself, or what the type
    implies."""
    region: str = ""
    """Vertex (``europe-west1``, ``eu``, ``global``) and Bedrock (``eu-central-1``):
    required there."""
    project: str = ""
    """Vertex: the project. Empty: the one that the credentials belong to."""
    api_version: str = ""
    """Azure: a dated version (``2024-10-21``) asks for the deployment that the target's
    model names, in the URL. Empty, or ``preview``: the v1 API, which has no dates."""
    auth: ProviderAuth = ProviderAuth()
    model_info: tuple[ModelInfo, ...] = ()
    """Corrects the built-in catalogue of models; what is ``null`` is left to it."""
    compat: Compat = Compat()
    price_vendor: str = ""
    """Whose prices the price list has for this provider (``gandalf prices --vendors``).
    Empty: by the type, or by ``base_url`` if that is set. ``none``: nobody's."""
    on_unknown_price: Literal["allow", "refuse"] = "allow"
    """``refuse`` turns requests away whose target has no price. ``allow`` serves them:
    their records have no cost. Where a budget applies they are refused all the same."""
    cost_source: Literal["prices", "provider"] = "prices"
    """``provider`` records the cost that the provider reports with an answer
    (OpenRouter, xAI, Perplexity), and computes it where it reports none."""
    max_connections: PositiveCount = 1000
    """Connections to this upstream, at the most."""
    keepalive_expiry: Seconds = 30.0
    """How long an unused upstream connection is kept."""
    transport: Literal["lean", "httpx"] = "lean"
    """``httpx`` for proxies (from the environment) and HTTP/2; slower."""
    on_client_disconnect: Disconnect = Disconnect()
    allow_batches: bool = False
    """Whether batches may be made here. What one asks for stands in a file that the
    gateway does not read: any model of the account, and any file or response of any
    organisation whose id its maker knows."""
    simulation: Simulation = Simulation()


class RouteTarget(msgspec.Struct, frozen=True, kw_only=True):
    """One place a route can send a request to."""

    provider: str
    """Name of a provider."""
    model: str
    """What that provider calls the model. ``*``, behind an alias that ends in ``*``:
    the name that the client asks for."""
    priority: Priority = 0
    """Lower is tried first."""
    weight: PositiveCount = 1
    """Share of the traffic among targets of the same priority."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A model name for clients, and the targets behind it."""

    model_alias: str
    """What clients put into ``model``; unique. ``claude-*`` stands for all names that
    begin so and have no route of their own, ``*`` for all names: the default route."""
    strategy: Literal["priority"] = "priority"
    """How targets are ordered: by priority, by weight within one priority."""
    cache_ttl_s: Count = 0
    """Seconds an answer is kept. 0 means ``cache.default_ttl``."""
    reserve_output_tokens: PositiveCount | None = None
    """Output tokens to reserve in budgets for a request that does not limit its own.
    ``null``: the model's output limit, or 4096 if that is not known."""
    strict: bool = False
    """Refuse a request rather than drop or approximate any of it for a target that
    speaks another dialect. The request header ``x-gandalf-strict`` overrides it."""
    fallback_on: tuple[Literal["context_length", "content_policy"], ...] = ()
    """Refusals of a request after which the next target is tried all the same: the
    prompt is too long for the model, or its content is refused. Other refusals (4xx) go
    to the client at once."""
    targets: tuple[RouteTarget, ...]
    """At least one."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A client key kept in the configuration."""

    name: str
    """Unique; ``config:<name>`` is the key's id in usage records."""
    key: Secret
    """The key itself, ``gnd_...``; usually ``${SOME_VARIABLE}``."""
    org_id: str = "default"
    """The organisation that the key's usage is accounted to."""
    role: Role = Role.MEMBER
    """What the key may do."""
    allowed_models: tuple[str, ...] = ()
    """Models the key may use, exact or as ``prefix*``. Empty means every model."""
    rpm_limit: Count | None = None
    """Requests per minute. ``null``: the default; 0: unlimited."""
    tpm_limit: Count | None = None
    """Tokens per minute. ``null``: the default; 0: unlimited."""
    team_id: str | None = None
    """The team that the key's usage is accounted to."""
    user_id: str | None = None
    """The user that the key's usage is accounted to."""
    max_budget: str | None = None
    """Lifetime budget of the key in USD, exactly: ``12.50``. ``null``: none."""
    tags: tuple[str, ...] = ()
    """Tags of each of the key's requests, beside those of ``x-gandalf-tags``."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A limit on what a scope may spend in a window. See docs/money.md."""

    name: str
    """Unique; named in refusals, notifications and metrics."""
    scope: Literal[
        "key", "user", "team", "organization", "alias", "provider", "tag", "global"
    ]
    """What the budget limits. ``alias`` is the model name that clients ask for;
    ``global`` is everything."""
    id: str = ""
    """The one key, user, team, ... that it is for. Empty: each has a budget of its
    own."""
    limit: str
    """Amount in ``unit``; USD may have up to 9 decimals and are exact."""
    unit: Literal["usd", "tokens", "requests"] = "usd"
    """What is counted."""
    window: str = "month"
    """``lifetime``, ``hour``, ``day``, ``week`` (from Monday), ``month``, or N rolling
    days: ``7d``."""
    time_zone: str = "UTC"
    """Time zone in which windows begin, by its name in the IANA database:
    ``Europe/Berlin``."""
    hard: bool = True
    """Whether requests that do not fit are refused. Otherwise the budget only
    notifies."""
    thresholds: tuple[Percent, ...] = (50, 80, 100)
    """Percent of the limit at which to notify, once in a window."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A URL that notifications are sent to, as JSON."""

    url: str
    """Where to: ``https://...``."""
    secret: Secret | None = None
    """Key of the HMAC-SHA256 signature in ``x-gandalf-signature``. ``null``: the
    notifications are not signed."""
    timeout: PositiveSeconds = 10.0
    """How long one attempt may take. There are up to 6, with growing pauses."""


class Notifications(msgspec.Struct, frozen=True, kw_only=True):
    """Where reached thresholds of budgets are told, beside log and metrics."""

    webhooks: tuple[Webhook, ...] = ()
    """Each gets every notification."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration file."""

    server: Server = Server()
    database: Database = Database()
    auth: Auth = Auth()
    rate_limits: RateLimits = RateLimits()
    cache: Cache = Cache()
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    retries: Retries = Retries()
    usage: Usage = Usage()
    prices: Prices = Prices()
    telemetry: Telemetry = Telemetry()
    providers: tuple[Provider, ...] = ()
    routes: tuple[Route, ...] = ()
    keys: tuple[Key, ...] = ()
    budgets: tuple[Budget, ...] = ()
    notifications: Notifications = Notifications()
