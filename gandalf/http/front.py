"""The ASGI application that the edge serves: Quart's, loaded when somebody asks for it.

Quart and what comes with it take 17 MB and a quarter of a second, and most gateways
are never asked for a page of its. So the first request for one has it loaded, in a
thread; it and those after it wait, and nobody else does. What somebody asks for all the
time, health, metrics and the lists of models, is answered here, by the same functions;
and so is who looks where nothing has ever been, as everybody on the internet does
(``/``, ``/favicon.ico``).

Quart's own lifespan is not run: nothing in our application has any use for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import trio

# Importing takes a thread: it would hold up everybody for as long as it takes.
from trio.to_thread import run_sync as run_in_thread  # noqa: TID251

from gandalf.domain.errors import GatewayError, UpgradeRequired
from gandalf.http import endpoints
from gandalf.http.edge_asgi import ASGI, Receive, Send
from gandalf.http.gateway import request_id
from gandalf.http.page import (
    Asked,
    OnRefused,
    Page,
    View,
    error_page,
    merged,
    not_reported,
    refused,
)
from gandalf.http.page_access import SECTIONS
from gandalf.http.refused_paths import is_anothers, not_found, wants_websocket
from gandalf.http.responder import SECURITY_HEADERS
from gandalf.http.system_pages import SystemPages

log = logging.getLogger("gandalf.http")

Scope = dict[str, Any]


class Front:
    """Answers the pages that are functions, and passes everything else on.

    Args:
        system: The system's pages. They carry no request id.
        others: More of them, by path.
        load: Returns the application behind it. Blocking: called in a thread.
        on_refused: Called for every request that is refused here.
    """

    def __init__(
        self,
        system: SystemPages,
        others: Mapping[str, View],
        load: Callable[[], ASGI],
        on_refused: OnRefused = not_reported,
    ) -> None:
        self._system = system
        self._views = {**system.views, **others}
        self._sections = SECTIONS.union(path[1:] for path in system.views)
        self._load = load
        self._on_refused = on_refused
        self._app: ASGI | None = None
        self._arriving: trio.Event | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of any ASGI server's, or follow its lifespan."""
        if scope["type"] == "lifespan":
            await _follow_lifespan(receive, send)
            return
        path = scope["path"]
        view = self._views.get(path)
        if view is not None and scope.get("method") in ("GET", "HEAD"):
            await self._answer(view, path, scope, send)
        elif scope["type"] == "http" and self._is_refused(scope):
            await self._answer(_refuse, "unmatched", scope, send)
        else:
            app = await self._application()
            await app(scope, receive, send)

    @property
    def loaded(self) -> bool:
        """Whether the application is there."""
        return self._app is not None

    async def _application(self) -> ASGI:
        """Return the application, once it is loaded. If that fails, the next may try.

        Who is cancelled meanwhile leaves only when the thread is done.
        """
        while self._app is None:
            if self._arriving is not None:
                await self._arriving.wait()
                continue
            arriving = self._arriving = trio.Event()
            try:
                self._app = await run_in_thread(
                    self._load, limiter=trio.CapacityLimiter(1)
                )
            finally:
                self._arriving = None
                arriving.set()
        return self._app

    async def _answer(self, view: View, rule: str, scope: Scope, send: Send) -> None:
        began = trio.current_time()
        path = scope["path"]
        asked = Asked(path, scope["query_string"], merged(scope["headers"]))
        own = request_id(asked.headers)
        try:
            page = await view(asked)
        except GatewayError as error:
            page = self._refusal(error, own, scope["method"], asked)
        except Exception:
            log.exception("page %s failed", path)
            page = self._refusal(GatewayError(), own, scope["method"], asked)
        if path not in self._system.views:
            field = (b"x-request-id", own.encode())
            page = page._replace(headers=[*page.headers, field])
        duration = trio.current_time() - began
        self._system.observe(scope["method"], rule, page.status, duration)
        await _send(page, send)

    def _refusal(
        self, error: GatewayError, request_id: str, method: str, asked: Asked
    ) -> Page:
        error.request_id = request_id
        self._on_refused(refused(error, request_id, method, asked.path))
        return error_page(error, asked.path, asked.headers)

    def _is_refused(self, scope: Scope) -> bool:
        """Return True for requests that the application need not be loaded for."""
        path: str = scope["path"]
        if scope.get("root_path") or not path.startswith("/"):
            return False
        if path.split("/", 2)[1] not in self._sections:
            return True
        headers, method = merged(scope["headers"]), scope["method"]
        endpoint = endpoints.find(method.encode(), path.encode())
        return wants_websocket(method, path, headers) or is_anothers(
            endpoint, path, headers
        )


async def _refuse(asked: Asked) -> Page:
    if wants_websocket("GET", asked.path, asked.headers):
        raise UpgradeRequired(asked.path)
    raise not_found(asked.path)


async def _send(page: Page, send: Send) -> None:
    headers = [
        (b"content-type", page.content_type),
        (b"content-length", b"%d" % len(page.body)),
        *page.headers,
        *SECURITY_HEADERS,
    ]
    await send(
        {"type": "http.response.start", "status": page.status, "headers": headers}
    )
    await send({"type": "http.response.body", "body": page.body})


async def _follow_lifespan(receive: Receive, send: Send) -> None:
    for _ in ("startup", "shutdown"):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
