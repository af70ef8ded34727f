"""Tokens of Microsoft Entra ID: an application's, or the machine's own.

Sources:
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
https://learn.microsoft.com/azure/app-service/overview-managed-identity (REST endpoint)

What goes wrong is said in the server's error code and Microsoft's number for it
(AADSTS...), never in its own words, which may quote what was sent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping

import msgspec

from gandalf.config import ProviderAuth
from gandalf.providers.credentials import FetchFailed, Token

AUTHORITY = "https://login.microsoftonline.com"
SCOPE = "https://cognitiveservices.azure.com/.default"
METADATA = "http://169.254.169.254"

TIMEOUT = (5.0, 10.0)
"""Seconds to connect, and between two pieces of an answer."""
MAX_ANSWER_BYTES = 64 * 1024

_CODE = re.compile(r"[a-z_]{1,64}")
_NUMBER = re.compile(r"AADSTS\d{1,10}")


class _Answer(msgspec.Struct):
    access_token: str
    # Entra gives a number of seconds; the metadata services may give text, and the
    # one of App Service gives the time alone.
    expires_in: int | str | None = None
    expires_on: int | str | None = None


class _Failure(msgspec.Struct):
    error: str = ""
    error_description: str = ""


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_failure = msgspec.json.Decoder(_Failure).decode


def fetch_entra(auth: ProviderAuth) -> Token:
    """Return a token for the application that ``auth`` describes. Blocks.

    Raises:
        FetchFailed: There is none to be had.
    """
    secret = auth.client_secret
    form = {
        "grant_type": "client_credentials",
        "client_id": auth.client_id,
        "client_secret": secret.reveal() if secret is not None else "",
        "scope": auth.scope or SCOPE,
    }
    authority = (auth.authority or AUTHORITY).rstrip("/")
    url = f"{authority}/{auth.tenant_id}/oauth2/v2.0/token"
    return _ask("Entra ID", "POST", url, data=form)


def fetch_managed_identity(auth: ProviderAuth, environ: Mapping[str, str]) -> Token:
    """Return a token for the identity of the machine this runs on. Blocks.

    Raises:
        FetchFailed: There is none to be had.
    """
    who = "the managed identity endpoint"
    query = {"resource": (auth.scope or SCOPE).removesuffix("/.default")}
    if auth.client_id:
        query["client_id"] = auth.client_id
    endpoint = environ.get("IDENTITY_ENDPOINT")
    secret = environ.get("IDENTITY_HEADER")
    if endpoint and secret and not auth.authority:
        # App Service, Functions, Container Apps.
        query["api-version"] = "2019-08-01"
        headers = {"X-IDENTITY-HEADER": secret}
        return _ask(who, "GET", endpoint, headers=headers, params=query)
    # Virtual machines, scale sets, Kubernetes.
    host = auth.authority or environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST")
    url = f"{(host or METADATA).rstrip('/')}/metadata/identity/oauth2/token"
    query["api-version"] = "2018-02-01"
    return _ask(who, "GET", url, headers={"Metadata": "true"}, params=query)


def _ask(
    who: str,
    method: str,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    params: dict[str, str] | None = None,
    data: dict[str, str] | None = None,
) -> Token:
    # Imported here, in the thread: it takes 17 MB, and those without Azure no time.
    import requests

    try:
        with requests.Session() as session:
            # What is asked with GET is in this machine, not behind a proxy.
            session.trust_env = method != "GET"
            response = session.request(
                method,
                url,
                headers=headers,
                params=params,
                data=data,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
            )
            body = _bounded(response.iter_content(4096))
    except (requests.RequestException, OSError) as error:
        problem = type(error).__name__
        raise FetchFailed(f"{who} cannot be reached: {problem}") from None
    if response.status_code != 200:
        status = response.status_code
        raise FetchFailed(f"{who} answered {status}{_reason(body)}")
    return _token(body, who)


def _bounded(pieces: Iterable[bytes]) -> bytes:
    body = b""
    for piece in pieces:
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            break
    return body


def _token(body: bytes, who: str) -> Token:
    now = time.time()
    try:
        answer = _decode_answer(body)
        if answer.expires_in is not None:
            expires_at = now + float(answer.expires_in)
        else:
            expires_at = float(answer.expires_on or now)
    except (msgspec.MsgspecError, ValueError):
        raise FetchFailed(f"{who} answered with no token") from None
    return Token(answer.access_token, expires_at)


def _reason(body: bytes) -> str:
    try:
        failure = _decode_failure(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    number = _NUMBER.search(failure.error_description)
    code = _CODE.fullmatch(failure.error)
    parts = [found[0] for found in (code, number) if found]
    return f": {' '.join(parts)}" if parts else ""
