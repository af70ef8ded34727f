"""Every endpoint, declared once (quart-trio).

Any ASGI server can serve it. Ours sends the endpoints of ``endpoints.RULES`` straight
into the pipeline, through the same ``Gateway`` that their views here use, and answers
health, metrics and lists of models itself (``front``), by the same functions. So nobody
imports this module before one of the other pages is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import msgspec
import trio
from quart import Request, Response, g, request
from quart.wrappers.response import DataBody
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from gandalf import config
from gandalf.dialects.ollama import pages as ollama_pages
from gandalf.dialects.registry import ANTHROPIC, GEMINI
from gandalf.domain.errors import (
    BadRequest,
    GatewayError,
    MethodNotAllowed,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedEncoding,
    UpgradeRequired,
)
from gandalf.http import endpoints, model_lists
from gandalf.http.admin.views import AdminViews, problem_response
from gandalf.http.endpoints import RULES
from gandalf.http.gateway import Gateway, request_id
from gandalf.http.key_page import KeyPage
from gandalf.http.model_views import ModelViews
from gandalf.http.page import (
    Asked,
    OnRefused,
    Page,
    error_page,
    merged,
    not_reported,
    refused,
)
from gandalf.http.page_access import PREFIX, Keys, authenticate
from gandalf.http.quart_exchange import (
    ExchangeConnection,
    ExchangeResponse,
    QuartUpload,
)
from gandalf.http.refused_paths import is_anothers, not_found, wants_websocket
from gandalf.http.responder import SECURITY_HEADERS
from gandalf.http.spoken import Spoken, spoken_at
from gandalf.http.system_pages import SystemPages
from gandalf.providers.base import Headers

log = logging.getLogger("gandalf.http")


class Application:
    """The views, and what they need."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        system: SystemPages,
        models: ModelViews,
        key_page: KeyPage,
        keys: Keys,
        admin: AdminViews,
        current: Callable[[], config.Config],
        on_refused: OnRefused = not_reported,
    ) -> None:
        self._gateway = gateway
        self._on_refused = on_refused
        self._system = system
        self._models = models
        self._keys = keys
        self._views = system.views | models.views | key_page.views
        self._admin = admin
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
        # Two slashes are a mistake that is told, not a redirect that loses the body.
        app.url_map.merge_slashes = False
        for rule in RULES:
            method = rule.method.decode()
            app.add_url_rule(
                rule.quart_rule,
                f"{method} {rule.pattern}",
                self._exchange,
                methods=[method],
            )
        pages: dict[str, Callable[..., Awaitable[Response]]] = {
            **dict.fromkeys(self._views, self.page),
            "/v1/models/<path:model>": self.get_model,
            "/openai/v1/models/<path:model>": self.get_model,
            "/v1beta/models/<path:model>": self.get_gemini_model,
        }
        for page, view in pages.items():
            app.add_url_rule(page, page, view, methods=["GET"])
        show = self.show_ollama_model
        app.add_url_rule("/api/show", "/api/show", show, methods=["POST"])
        self._admin.register(app)
        app.before_request(self._begin)
        app.after_request(self._end)
        app.register_error_handler(Exception, self._error)
        return app

    # The endpoints that reach an upstream.

    async def _exchange(self, **_: str) -> Response:
        # Quart has decoded the path; a slash that is part of a name must stay one.
        endpoint = endpoints.find(request.method.encode(), _raw_path(request))
        headers, path = _headers(request), request.path
        if endpoint is None or is_anothers(endpoint, path, headers):
            raise not_found(path)
        server = self._current().server
        body, upload = b"", None
        if endpoint.upload:
            upload = QuartUpload(request, server.max_upload_bytes, server.read_timeout)
        else:
            body = await request.get_data(as_text=False)  # type: ignore[assignment] # it is bytes
        exchange = self._gateway.open(
            endpoint,
            _headers(request),
            body,
            trio.current_time(),
            trio.CancelScope(),
            query=request.query_string,
            upload=upload,
        )
        return ExchangeResponse(self._gateway, exchange, server.keep_alive_interval)

    # Pages.

    async def page(self) -> Response:
        rule = request.url_rule.rule if request.url_rule is not None else ""
        return _response(await self._views[rule](_asked()))

    async def get_model(self, model: str) -> Response:
        found, dialect = self._models.usable(_asked(), model), _spoken().dialect
        if dialect is ANTHROPIC:
            return _json(model_lists.anthropic_model(found))
        if dialect is GEMINI:
            return _json(model_lists.gemini_model(found))
        return _json(model_lists.openai_model(found))

    async def get_gemini_model(self, model: str) -> Response:
        return _json(model_lists.gemini_model(self._models.usable(_asked(), model)))

    async def show_ollama_model(self) -> Response:
        body: bytes = await request.get_data(as_text=False)  # type: ignore[assignment] # it is bytes
        model = self._models.usable(_asked(), ollama_pages.read_show(body))
        return _raw_json(ollama_pages.render_show(model))

    # Around every page.

    async def _begin(self) -> None:
        g.began_at = trio.current_time()
        g.request_id = request_id(_headers(request))
        if request.path.startswith(f"{PREFIX}/"):
            # Deny by default: without a key nothing is told of what is below.
            g.identity = authenticate(self._keys, *_asked())
        if endpoints.find(request.method.encode(), _raw_path(request)) is None:
            _refuse_coding(_headers(request).get(b"content-encoding", b""))

    async def _end(self, response: Response) -> Response:
        if isinstance(response, ExchangeResponse):
            return response
        if isinstance(response.response, DataBody):
            response.content_length = len(await response.get_data(as_text=False))
        for name, value in SECURITY_HEADERS:
            response.headers[name.decode()] = value.decode()
        if request.path not in self._system.views:
            response.headers["x-request-id"] = g.request_id
        duration = trio.current_time() - g.get("began_at", trio.current_time())
        rule = request.url_rule.rule if request.url_rule is not None else "unmatched"
        self._system.observe(request.method, rule, response.status_code, duration)
        return response

    async def _error(self, raised: Exception) -> Response:
        error = _gateway_error(raised)
        if error is None:
            log.error("page %s failed", request.path, exc_info=raised)
            error = GatewayError()
        headers, error.request_id = _headers(request), g.request_id
        path = _raw_path(request).decode("latin-1")
        self._on_refused(refused(error, g.request_id, request.method, path))
        page = error_page(error, request.path, headers)
        if request.path.startswith(f"{PREFIX}/"):
            body, kind = problem_response(error, g.request_id)
            page = page._replace(body=body, content_type=kind)
        return _response(page)


def _gateway_error(raised: Exception) -> GatewayError | None:
    """Return what ``raised`` means for the client; None if it is a bug."""
    if isinstance(raised, GatewayError):
        return raised
    if not isinstance(raised, HTTPException):
        return None
    if raised.code == 404:
        return not_found(_raw_path(request).decode("latin-1"))
    if raised.code == 405:
        if wants_websocket(request.method, request.path, _headers(request)):
            return UpgradeRequired(request.path)
        methods = getattr(raised, "valid_methods", None) or []
        return MethodNotAllowed(", ".join(sorted(methods)))
    if raised.code == 408:
        return RequestTimeout("the body took too long")
    if raised.code == 413:
        return PayloadTooLarge("the body is too large")
    if raised.code is not None and raised.code < 500:
        return BadRequest(raised.description or raised.name)
    return None


def _asked() -> Asked:
    return Asked(request.path, request.query_string, _headers(request))


def _headers(request: Request) -> Headers:
    return merged(
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in request.headers.items()
    )


def _refuse_coding(coding: bytes) -> None:
    """Refuse an encoded body for a page: only the pipeline decodes bodies."""
    if coding.strip().lower() not in (b"", b"identity"):
        raise UnsupportedEncoding("content codings are not accepted here", "identity")


def _raw_path(request: Request) -> bytes:
    raw: bytes | None = request.scope.get("raw_path")
    # Some servers leave the query in it, some leave it out altogether.
    return (raw or request.path.encode()).partition(b"?")[0]


def _response(page: Page) -> Response:
    kind = page.content_type.decode()
    response = Response(page.body, status=page.status, content_type=kind)
    for name, value in page.headers:
        response.headers[name.decode()] = value.decode()
    return response


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), content_type="application/json")


def _raw_json(value: bytes) -> Response:
    return Response(value, content_type="application/json")


def _spoken() -> Spoken:
    return spoken_at(request.path, _headers(request))
