"""From a Quart request to the handler of an endpoint, and back to a response.

The order is fixed: authenticate, permission, idempotency, query, body, handler.
A caller without the permission learns nothing about the request's validity, and each
refused change is in the audit trail.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import msgspec
from quart import Response, g, request
from quart_trio import QuartTrio

from gandalf.dialects.base import UNREADABLE
from gandalf.domain.audit import AuditEntry, Outcome
from gandalf.domain.errors import (
    GatewayError,
    Overloaded,
    PayloadTooLarge,
)
from gandalf.domain.identity import Identity
from gandalf.domain.ids import new_id
from gandalf.http.admin.idempotency import IdempotencyKeys, Replay
from gandalf.http.admin.problems import (
    CONTENT_TYPE,
    FieldError,
    InvalidRequest,
    problem_body,
)
from gandalf.http.admin.table import AdminEndpoint, AdminReply, AdminRequest
from gandalf.http.page_access import PREFIX
from gandalf.pipeline.authorize import insufficient
from gandalf.storage.errors import StorageError

log = logging.getLogger("gandalf.admin")

MAX_BODY_BYTES = 1024 * 1024
"""As the predecessor's. Larger requests are 413."""

_AT = re.compile(r"(?P<message>.*?)(?: - at `\$\.?(?P<field>.*?)`)?", re.DOTALL)
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})

Append = Callable[[AuditEntry], Awaitable[None]]


class AdminViews:
    """Serves the endpoints of the table through Quart.

    Args:
        endpoints: The table.
        append_audit: Appends an entry to the audit trail.
    """

    def __init__(
        self, endpoints: Iterable[AdminEndpoint], append_audit: Append
    ) -> None:
        self.endpoints = tuple(endpoints)
        self._append_audit = append_audit
        self._answers = IdempotencyKeys()

    def register(self, app: QuartTrio) -> None:
        """Declare every endpoint on ``app``."""
        for endpoint in self.endpoints:
            app.add_url_rule(
                PREFIX + _quart_rule(endpoint.path),
                f"{endpoint.method} {endpoint.path}",
                self._view(endpoint),
                methods=[endpoint.method],
            )

    def _view(self, endpoint: AdminEndpoint) -> Callable[..., Awaitable[Response]]:
        async def view(**path: str) -> Response:
            identity: Identity = g.identity
            try:
                _authorise(endpoint, identity)
                body = await _body()
                key = request.headers.get("idempotency-key")
                if key is None or endpoint.method != "POST":
                    return await self._answer(endpoint, identity, path, body)
                return await self._once(key, endpoint, identity, path, body)
            except GatewayError as error:
                if endpoint.method in _CHANGING and error.status < 500:
                    await self._note_refusal(endpoint, identity, path, error)
                raise

        return view

    async def _once(
        self,
        key: str,
        endpoint: AdminEndpoint,
        identity: Identity,
        path: dict[str, str],
        body: bytes,
    ) -> Response:
        owner = identity.key_id
        whole = b"%b %b %b" % (
            request.method.encode(),
            request.full_path.encode(),
            body,
        )
        if (earlier := self._answers.begin(owner, key, whole)) is not None:
            response = Response(earlier.body, status=earlier.status)
            response.headers.extend(earlier.headers)
            response.headers["idempotency-replayed"] = "true"
            return response
        try:
            response = await self._answer(endpoint, identity, path, body)
        except BaseException:
            self._answers.forget(owner, key)
            raise
        headers = tuple(
            (name, value)
            for name, value in response.headers.items()
            if name.lower() in ("content-type", "location", "etag")
        )
        content = await response.get_data(as_text=False)
        self._answers.finish(owner, key, Replay(response.status_code, headers, content))
        return response

    async def _answer(
        self,
        endpoint: AdminEndpoint,
        identity: Identity,
        path: dict[str, str],
        body: bytes,
    ) -> Response:
        asked = AdminRequest(
            identity=identity,
            path=path,
            query=_query(endpoint),
            body=_decoded(endpoint, body),
            if_match=_entity_tag(request.headers.get("if-match")),
            request_id=g.request_id,
            remote=request.remote_addr or "",
        )
        try:
            return _response(endpoint, await endpoint.handler(asked))
        except StorageError as error:
            log.error("%s failed: %s", endpoint.operation_id, error)
            raise _unavailable() from error

    async def _note_refusal(
        self,
        endpoint: AdminEndpoint,
        identity: Identity,
        path: dict[str, str],
        error: GatewayError,
    ) -> None:
        entry = AuditEntry(
            id=new_id(),
            at=time.time(),
            actor=identity.key_id,
            actor_org=identity.org_id,
            remote=request.remote_addr or "",
            request_id=g.request_id,
            action=endpoint.operation_id,
            object="/".join([endpoint.section, *path.values()])[:200],
            outcome=Outcome.REFUSED,
            reason=f"{error.code}: {error.message}"[:500],
        )
        try:
            await self._append_audit(entry)
        except StorageError as failed:
            log.error("a refused attempt is not in the audit trail: %s", failed)


def problem_response(error: GatewayError, request_id: str) -> tuple[bytes, bytes]:
    """Return body and media type of the problem details of ``error``."""
    return problem_body(error, request_id), CONTENT_TYPE


def _authorise(endpoint: AdminEndpoint, identity: Identity) -> None:
    if not any(identity.may(permission) for permission in endpoint.permissions):
        raise insufficient(identity, *endpoint.permissions)


async def _body() -> bytes:
    if request.method not in _CHANGING:
        return b""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise PayloadTooLarge(f"a body here has at most {MAX_BODY_BYTES} bytes")
    body: bytes = await request.get_data(as_text=False)  # type: ignore[assignment] # it is bytes
    if len(body) > MAX_BODY_BYTES:
        raise PayloadTooLarge(f"a body here has at most {MAX_BODY_BYTES} bytes")
    return body


def _decoded(endpoint: AdminEndpoint, body: bytes) -> Any:  # noqa: ANN401 - the row's type
    if endpoint.body is None:
        return None
    try:
        return msgspec.json.decode(body or b"{}", type=endpoint.body)
    except UNREADABLE as error:
        raise _invalid("the body", error) from None


def _query(endpoint: AdminEndpoint) -> Any:  # noqa: ANN401 - the row's type
    if endpoint.query is None:
        if request.args:
            name = next(iter(request.args))
            raise InvalidRequest(
                "unknown query parameter", FieldError(name, "there are none here")
            )
        return None
    given = dict(request.args.items())
    known = [field.encode_name for field in msgspec.structs.fields(endpoint.query)]
    for name in given:
        if name not in known:
            raise InvalidRequest(
                "unknown query parameter",
                FieldError(name[:100], f"expected one of {', '.join(known)}"),
            )
    try:
        return msgspec.convert(given, endpoint.query, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid("the query", error) from None


def _invalid(part: str, error: Exception) -> InvalidRequest:
    found = _AT.fullmatch(str(error))
    message = (found["message"] if found else str(error)) or "not readable"
    message = message.replace("`", "").removeprefix("JSON is malformed: ")
    if isinstance(error, msgspec.ValidationError):
        field = (found and found["field"]) or ""
        if missing := re.fullmatch(r"Object missing required field (\S+)", message):
            field, message = ".".join(filter(None, (field, missing[1]))), "is required"
        elif unknown := re.fullmatch(r"Object contains unknown field (\S+)", message):
            field, message = ".".join(filter(None, (field, unknown[1]))), "is unknown"
        where = field or part
        return InvalidRequest(f"{where}: {message}", FieldError(field, message))
    return InvalidRequest(f"{part} is not valid JSON: {message}")


def _entity_tag(value: str | None) -> str | None:
    if value is None or value.strip() == "*":
        return None
    return value.strip().removeprefix("W/").strip('"')


def _response(endpoint: AdminEndpoint, reply: AdminReply) -> Response:
    body: bytes | AsyncIterator[bytes]
    if reply.stream is not None:
        body, kind = reply.stream, reply.content_type
    elif reply.raw is not None:
        body, kind = reply.raw, reply.content_type
    elif reply.body is None:
        body, kind = b"", ""
    else:
        body, kind = msgspec.json.encode(reply.body), "application/json"
    status = 204 if not kind and endpoint.status == 200 else endpoint.status
    response = Response(body, status=status, content_type=kind or None)
    if reply.etag:
        response.headers["etag"] = f'"{reply.etag}"'
    if reply.location:
        response.headers["location"] = PREFIX + reply.location
    response.headers["cache-control"] = "no-store"
    return response


def _quart_rule(path: str) -> str:
    # Ids of managed objects are model names, which may hold slashes.
    return path.replace("{name}", "<path:name>").replace("{id}", "<id>")


def _unavailable() -> GatewayError:
    return Overloaded("the database cannot be used now", retry_after=5.0)
