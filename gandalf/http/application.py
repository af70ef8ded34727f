"""Every endpoint, declared once (quart-trio).

Any ASGI server can serve it. Ours sends the endpoints of ``HOT_ROUTES`` straight into
the pipeline, through the same ``Gateway`` that their views here use.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
import trio
from quart import Request, Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from gandalf import config
from gandalf.dialects import openai
from gandalf.domain.errors import (
    BadRequest,
    GatewayError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PermissionDenied,
    RequestTimeout,
)
from gandalf.domain.identity import Identity, Permission
from gandalf.http.endpoints import HOT_ROUTES, Endpoint
from gandalf.http.gateway import Gateway, request_id
from gandalf.http.pages import PREFIX, permissions_for
from gandalf.http.quart_exchange import ExchangeConnection, ExchangeResponse
from gandalf.http.responder import SECURITY_HEADERS, error_headers
from gandalf.pipeline.authenticate import bearer_token
from gandalf.providers.base import Headers

log = logging.getLogger("gandalf.http")


class Keys(Protocol):
    """Who knows whom a key stands for."""

    def authenticate(self, token: bytes) -> Identity: ...


class Models(Protocol):
    """Who knows which models there are for a key."""

    def models_for(self, identity: Identity) -> list[str]: ...


class Records(Protocol):
    """Who knows what became of past requests."""

    async def find(self, request_id: str) -> dict[str, Any] | None:
        """Return the record of a request with its attempts, ready for JSON."""


class Health(Protocol):
    """Who knows whether requests should be sent here."""

    @property
    def ready(self) -> bool: ...

    @property
    def degraded(self) -> str:
        """What is not as it should be, though requests are served; or empty."""


class PageMetrics(Protocol):
    """Who counts the pages served, and renders all metrics."""

    def observe_page(
        self, method: str, path: str, status: int, duration: float
    ) -> None: ...

    async def scrape(self) -> bytes: ...


class Application:
    """The views, and what they need."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        keys: Keys,
        models: Models,
        records: Records,
        health: Health,
        metrics: PageMetrics,
        current: Callable[[], config.Config],
    ) -> None:
        self._gateway = gateway
        self._keys = keys
        self._models = models
        self._records = records
        self._health = health
        self._metrics = metrics
        self._current = current

    def build(self) -> QuartTrio:
        """Return the ASGI application."""
        app = QuartTrio("gandalf", static_folder=None)
        app.asgi_http_class = ExchangeConnection  # type: ignore[assignment] # a subclass
        server = self._current().server
        # Quart's own 60 s limit would cut streams; ours are per provider.
        app.config["RESPONSE_TIMEOUT"] = None
        app.config["BODY_TIMEOUT"] = server.read_timeout
        app.config["MAX_CONTENT_LENGTH"] = server.max_body_bytes
        app.url_map.strict_slashes = False
        for (method, path), endpoint in HOT_ROUTES.items():
            app.add_url_rule(
                path.decode(),
                path.decode(),
                self._exchange_view(endpoint),
                methods=[method.decode()],
            )
        pages: dict[str, Callable[..., Awaitable[Response]]] = {
            "/healthz": self.healthz,
            "/readyz": self.readyz,
            "/metrics": self.metrics,
            "/v1/models": self.list_models,
            "/v1/models/<path:model>": self.get_model,
            "/admin/v1/requests/<request_id>": self.get_request,
        }
        for rule, view in pages.items():
            app.add_url_rule(rule, view.__name__, view, methods=["GET"])
        app.before_request(self._begin)
        app.after_request(self._end)
        app.register_error_handler(Exception, self._error)
        return app

    # The endpoints that reach an upstream.

    def _exchange_view(self, endpoint: Endpoint) -> Callable[[], Awaitable[Response]]:
        async def view() -> Response:
            body: bytes = await request.get_data(as_text=False)  # type: ignore[assignment] # it is bytes
            exchange = self._gateway.open(
                endpoint,
                _headers(request),
                body,
                trio.current_time(),
                trio.CancelScope(),
            )
            interval = self._current().server.keep_alive_interval
            return ExchangeResponse(self._gateway, exchange, interval)

        return view

    # Models.

    async def list_models(self) -> Response:
        identity = self._identify(Permission.USE_MODELS)
        models = [_model(name) for name in self._models.models_for(identity)]
        return _json({"object": "list", "data": models})

    async def get_model(self, model: str) -> Response:
        identity = self._identify(Permission.USE_MODELS)
        if model not in self._models.models_for(identity):
            raise NotFound(f"no model {model!r} here", code="model_not_found")
        return _json(_model(model))

    # The system.

    async def healthz(self) -> Response:
        return Response("ok", content_type="text/plain")

    async def readyz(self) -> Response:
        ready = self._health.ready
        response = Response(
            "ok" if ready else "not ready",
            status=200 if ready else 503,
            content_type="text/plain",
        )
        if degraded := self._health.degraded:
            response.headers["x-gandalf-degraded"] = degraded
        return response

    async def metrics(self) -> Response:
        settings = self._current().telemetry.metrics
        if not settings.enabled:
            raise NotFound("metrics are disabled")
        if not settings.public:
            self._identify(Permission.VIEW_ALL_USAGE)
        return Response(
            await self._metrics.scrape(),
            content_type="text/plain; version=0.0.4; charset=utf-8",
        )

    async def get_request(self, request_id: str) -> Response:
        record = await self._records.find(request_id)
        identity: Identity = g.identity
        own = record is not None and record["key_id"] == identity.key_id
        if record is None or not (own or identity.may(Permission.VIEW_ALL_USAGE)):
            raise NotFound(f"no request {request_id!r} is recorded")
        return _json(record)

    # Around every page.

    async def _begin(self) -> None:
        g.began_at = trio.current_time()
        if request.path.startswith(f"{PREFIX}/"):
            allowed = permissions_for(request.method, request.path)
            g.identity = self._identify(*allowed)

    async def _end(self, response: Response) -> Response:
        if isinstance(response, ExchangeResponse):
            return response
        response.content_length = len(await response.get_data(as_text=False))
        for name, value in SECURITY_HEADERS:
            response.headers[name.decode()] = value.decode()
        if request.path not in ("/healthz", "/readyz", "/metrics"):
            response.headers["x-request-id"] = request_id(_headers(request))
        duration = trio.current_time() - g.get("began_at", trio.current_time())
        rule = request.url_rule.rule if request.url_rule is not None else "unmatched"
        self._metrics.observe_page(request.method, rule, response.status_code, duration)
        return response

    async def _error(self, raised: Exception) -> Response:
        error = _gateway_error(raised)
        if error is None:
            log.error("page %s failed", request.path, exc_info=raised)
            error = GatewayError()
        response = Response(
            openai.error_body(error),
            status=error.status,
            content_type="application/json",
        )
        for name, value in error_headers(error):
            response.headers[name.decode()] = value.decode()
        return response

    def _identify(self, *any_of: Permission) -> Identity:
        """Return who is asking, if one of the permissions ``any_of`` is theirs.

        Raises:
            GatewayError: Nobody we know, or none of the permissions is theirs.
        """
        identity = self._keys.authenticate(bearer_token(_headers(request)))
        if not any(identity.may(permission) for permission in any_of):
            raise PermissionDenied("insufficient permissions")
        return identity


def _gateway_error(raised: Exception) -> GatewayError | None:
    """Return what ``raised`` means for the client; None if it is a bug."""
    if isinstance(raised, GatewayError):
        return raised
    if not isinstance(raised, HTTPException):
        return None
    if raised.code == 404:
        return NotFound(f"there is no {request.path}")
    if raised.code == 405:
        methods = getattr(raised, "valid_methods", None) or []
        return MethodNotAllowed(", ".join(sorted(methods)))
    if raised.code == 408:
        return RequestTimeout("the body took too long")
    if raised.code == 413:
        return PayloadTooLarge("the body is too large")
    if raised.code is not None and raised.code < 500:
        return BadRequest(raised.description or raised.name)
    return None


def _headers(request: Request) -> Headers:
    headers: Headers = {}
    for name, value in request.headers.items():
        key, field = name.lower().encode("latin-1"), value.encode("latin-1")
        headers[key] = headers[key] + b", " + field if key in headers else field
    return headers


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), content_type="application/json")


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "gandalf"}
