"""Checks of token issuers: names, URLs, paths of claims."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from gandalf.config.check_hosting import Complain, fault_of_url
from gandalf.config.settings import Issuer

# Part of key ids, which colons divide.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")

MAX_PATH = 256
"""Characters of a claim's path; each dot in it is one more look-up."""


def check_issuers(issuers: Iterable[Issuer], complain: Complain) -> None:
    """Report every problem of ``issuers`` to ``complain``."""
    for i, issuer in enumerate(issuers):
        _check(f"auth.issuers[{i}]", issuer, complain)


def fault_of_issuer_url(url: str) -> str:
    """Return why signing keys may not be fetched from ``url``; "" if they may.

    Whoever can change the answer can sign tokens: plain HTTP must stay on the machine.
    """
    if fault := fault_of_url(url):
        return fault
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        return "expected https://, or http:// on this machine"
    return ""


def _check(path: str, issuer: Issuer, complain: Complain) -> None:
    if issuer.name and not _NAME.fullmatch(issuer.name):
        complain(f"{path}.name", "expected up to 32 letters, digits, dots, - and _")
    if issuer.jwks_url:
        if fault := fault_of_issuer_url(issuer.jwks_url):
            complain(f"{path}.jwks_url", fault)
    elif issuer.issuer and (fault := fault_of_issuer_url(issuer.issuer)):
        # Only discovery needs the issuer to be a URL.
        complain(f"{path}.issuer", f"{fault}; or set jwks_url")
    if not issuer.audiences:
        complain(f"{path}.audiences", "an issuer needs at least one audience")
    if not issuer.algorithms:
        complain(f"{path}.algorithms", "an issuer needs at least one algorithm")
    _check_claims(path, issuer, complain)


def _check_claims(path: str, issuer: Issuer, complain: Complain) -> None:
    claims = issuer.claims
    for name in claims.__struct_fields__:
        text: str = getattr(claims, name)
        if len(text) > MAX_PATH or not text.isprintable():
            complain(f"{path}.claims.{name}", "expected the dotted path of a claim")
    if issuer.roles and not claims.role:
        complain(f"{path}.claims.role", "is required where there are roles")
    if issuer.default_role is None and not issuer.roles:
        complain(f"{path}.default_role", "without roles, null would refuse every token")
    if issuer.organizations and not claims.org:
        complain(f"{path}.claims.org", "is required where there are organizations")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
