"""A client of the admin API, for the command line.

Two transports: HTTP to a running gateway, and calls of the application in this process
where no gateway runs.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import httpx
import msgspec

from gandalf.http.page_access import PREFIX

TIMEOUT = 30.0
"""Seconds for a request."""
LOOK_TIMEOUT = 1.0
"""Seconds for the question whether a gateway runs at an address."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Unreachable(Exception):
    """No gateway answered."""


class Refused(Exception):
    """The gateway answered with an error.

    Args:
        status: Status code.
        problem: The problem details; empty if the body has none.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        super().__init__(problem.get("detail") or f"the gateway answered {status}")


class Answer(NamedTuple):
    """A successful answer."""

    data: Any
    """The body: parsed JSON, text of other types, or None."""
    etag: str


class Api(Protocol):
    """Something that answers requests of the admin API."""

    where: str
    """Address for messages."""

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,  # noqa: ANN401 - any JSON
        if_match: str = "",
    ) -> Answer:
        """Return the answer to a request.

        Args:
            method: Such as ``GET``.
            path: Below ``/admin/v1``; another one if it begins with ``//``.
            query: Query parameters; None values are left out.
            body: Sent as JSON; None: no body.
            if_match: Entity tag that the object must have; empty: any.

        Raises:
            Refused: The answer is an error.
            Unreachable: There was no answer.
        """


def fill(path: str, values: Mapping[str, str]) -> str:
    """Return ``path`` with its placeholders replaced."""
    return _PLACEHOLDER.sub(lambda m: quote(values[m[1]], safe="/@"), path)


def placeholders(path: str) -> list[str]:
    """Return the names of the placeholders of ``path``."""
    return _PLACEHOLDER.findall(path)


class HttpApi:
    """The admin API of a gateway at a URL.

    Args:
        url: Such as ``http://127.0.0.1:8080``.
        key: An admin key.
    """

    def __init__(self, url: str, key: str) -> None:
        self.where = url.rstrip("/").removesuffix(PREFIX)
        self._key = key

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,  # noqa: ANN401 - any JSON
        if_match: str = "",
    ) -> Answer:
        """Return the answer to a request; see ``Api``."""
        request = _request(self.where, method, path, query, body, if_match)
        request["headers"]["authorization"] = f"Bearer {self._key}"
        try:
            return _answer(httpx.request(**request, timeout=TIMEOUT))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(
                f"no gateway answers at {self.where}: {str(error) or type(error)}"
            ) from error


class ApplicationApi:
    """The admin API of an application in this process.

    Args:
        run: Calls a function with the application and the key, inside trio.
        where: The database, for messages.
    """

    def __init__(
        self,
        run: Callable[[Callable[[Any, str], Awaitable[Answer]]], Answer],
        where: str,
    ) -> None:
        self._run = run
        self.where = where

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,  # noqa: ANN401 - any JSON
        if_match: str = "",
    ) -> Answer:
        """Return the answer to a request; see ``Api``."""

        async def ask(application: Any, key: str) -> Answer:  # noqa: ANN401 - ASGI
            transport = httpx.ASGITransport(application, client=("command", 0))
            request = _request("http://local", method, path, query, body, if_match)
            request["headers"]["authorization"] = f"Bearer {key}"
            async with httpx.AsyncClient(transport=transport) as client:
                return _answer(await client.send(client.build_request(**request)))

        return self._run(ask)


def answers(url: str) -> bool:
    """Return whether a gateway answers at ``url``."""
    try:
        found = httpx.get(f"{url}/healthz", timeout=LOOK_TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return found.status_code == 200 and "x-request-id" in found.headers


def _request(
    base: str,
    method: str,
    path: str,
    query: Mapping[str, Any] | None,
    body: Any,  # noqa: ANN401 - any JSON
    if_match: str,
) -> dict[str, Any]:
    headers = {"accept": "application/json"}
    if if_match:
        headers["if-match"] = f'"{if_match}"'
    if body is not None:
        headers["content-type"] = "application/json"
    below = path[1:] if path.startswith("//") else PREFIX + path
    return {
        "method": method,
        "url": base + below,
        "params": {n: _text(v) for n, v in (query or {}).items() if v is not None},
        "headers": headers,
        "content": None if body is None else msgspec.json.encode(body),
    }


def _text(value: Any) -> str:  # noqa: ANN401 - a query value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _answer(response: httpx.Response) -> Answer:
    data: Any = response.text or None
    if "json" in response.headers.get("content-type", ""):
        try:
            data = msgspec.json.decode(response.content)
        except msgspec.DecodeError:
            data = response.text  # Lines of JSON.
    if response.status_code >= 400:
        raise Refused(response.status_code, data if isinstance(data, dict) else {})
    return Answer(data, response.headers.get("etag", "").strip('"'))
