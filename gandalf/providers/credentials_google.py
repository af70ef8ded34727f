"""Access tokens for Google's cloud, by google-auth.

Those of a service account's key, or else application default credentials: whatever
``GOOGLE_APPLICATION_CREDENTIALS`` names, what ``gcloud`` wrote, the metadata server.
Each fetch begins anew, so that a file that was replaced counts.
https://googleapis.dev/python/google-auth/latest/reference/google.auth.html
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Any

from gandalf.providers.credentials import FetchFailed, Token

SCOPE = "https://www.googleapis.com/auth/cloud-platform"

TIMEOUT = 10.0
"""Seconds for one request, whatever google-auth would wait."""

_CODE = re.compile(r"[a-z_]{1,64}(?=:)")


def fetch(credentials_file: str = "") -> Token:
    """Return a token for the service account of a file, or for the default.

    Blocks, also to import google-auth, which those who do not need it are spared.

    Raises:
        FetchFailed: There is none to be had.
    """
    from google.auth import exceptions

    request = _bounded_request()
    credentials, project = (
        _of_file(credentials_file) if credentials_file else _default(request)
    )
    try:
        credentials.refresh(request)
    except exceptions.GoogleAuthError as error:
        raise FetchFailed(_reason(error)) from None
    return Token(str(credentials.token), _expiry(credentials.expiry), project or "")


def _of_file(path: str) -> tuple[Any, str | None]:
    from google.oauth2 import service_account

    try:
        account = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
            path, scopes=[SCOPE]
        )
    except (OSError, ValueError) as error:
        problem = type(error).__name__
        message = f"{path} is not a service account's key: {problem}"
        raise FetchFailed(message) from None
    return account, account.project_id


def _default(request: Any) -> tuple[Any, str | None]:  # noqa: ANN401
    import google.auth
    from google.auth import exceptions

    try:
        found: tuple[Any, str | None] = google.auth.default(
            scopes=[SCOPE], request=request
        )
    except exceptions.GoogleAuthError as error:
        message = f"no application default credentials: {type(error).__name__}"
        raise FetchFailed(message) from None
    return found


def _bounded_request() -> Any:  # noqa: ANN401 - what google-auth calls a Request
    from google.auth.transport.requests import Request

    send = Request()

    def bounded(
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        **more: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        more["allow_redirects"] = False
        return send(
            url, method, body, headers, min(timeout or TIMEOUT, TIMEOUT), **more
        )

    return bounded


def _expiry(expiry: dt.datetime | None) -> float:
    # Naive, in UTC.
    return expiry.replace(tzinfo=dt.UTC).timestamp() if expiry else math.inf


def _reason(error: Exception) -> str:
    # What follows the error code, in the rest of its text, may be secret.
    code = _CODE.match(str(error.args[0])) if error.args else None
    return f"{type(error).__name__}{f': {code[0]}' if code else ''}"
