"""What the cloud of a provider needs, and what is set for another cloud by mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from gandalf.config.hostings import AUTHS, auth_type, hosting_of, provider_type
from gandalf.config.presets import PRESETS
from gandalf.config.settings import Provider

_OWNERS: dict[str, tuple[str, ...]] = {
    "api_key": ("api_key", "bearer"),
    "tenant_id": ("entra",),
    "client_id": ("entra", "managed_identity"),
    "client_secret": ("entra",),
    "scope": ("entra", "managed_identity"),
    "authority": ("entra", "managed_identity"),
    "credentials_file": ("gcp_oauth",),
    "access_key_id": ("aws_sigv4",),
    "secret_access_key": ("aws_sigv4",),
    "session_token": ("aws_sigv4",),
    "profile": ("aws_sigv4",),
}
"""The values of ``auth.type`` that each setting of ``auth`` is for."""

_KEYLESS = {
    "ollama",
    "simulated",
    *(name for name, preset in PRESETS.items() if preset.local),
}
"""Types that usually need no key, wherever they are."""

_PRINTABLE = re.compile(r"[!-~]+")
# These go into host names, paths and queries as they are.
_REGION = re.compile(r"[a-z][a-z0-9-]*")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Complain(Protocol):
    """Takes what is wrong with the setting at a path."""

    def __call__(self, key: str, message: str) -> None: ...


class HostingChecker:
    """Checks what one provider's cloud needs, and that nothing is set for another's.

    Args:
        complain: Called with the path and the message of every problem.
    """

    def __init__(self, complain: Complain) -> None:
        self._complain = complain

    def check(self, key: str, provider: Provider) -> None:
        """Check the settings of ``provider``; its type and hosting go together."""
        place = (provider_type(provider), hosting_of(provider))
        self._words(key, provider)
        self._secrets(key, provider)
        if provider.auth.type and provider.auth.type not in AUTHS[place]:
            at = f" at {place[1]}" if place[1] else ""
            self._complain(
                f"{key}.auth.type",
                f"is not supported for the type {place[0]}{at};"
                f" supported: {', '.join(AUTHS[place])}",
            )
            return
        self._belonging(key, provider, auth_type(provider))
        if provider.enabled:
            self._required(key, provider, auth_type(provider))

    def _words(self, key: str, provider: Provider) -> None:
        for field, value, expected in (
            ("region", provider.region, _REGION),
            ("project", provider.project, _PROJECT),
            ("api_version", provider.api_version, _WORD),
            ("auth.tenant_id", provider.auth.tenant_id, _WORD),
            ("auth.client_id", provider.auth.client_id, _PRINTABLE),
            ("auth.scope", provider.auth.scope, _PRINTABLE),
            ("auth.access_key_id", provider.auth.access_key_id, _WORD),
        ):
            if value and not expected.fullmatch(value):
                self._complain(f"{key}.{field}", "holds a character that cannot be")
        if provider.auth.authority and (
            message := fault_of_url(provider.auth.authority)
        ):
            self._complain(f"{key}.auth.authority", message)

    def _secrets(self, key: str, provider: Provider) -> None:
        auth = provider.auth
        for field, secret in (
            ("api_key", provider.api_key),
            ("auth.api_key", auth.api_key),
            ("auth.client_secret", auth.client_secret),
            ("auth.secret_access_key", auth.secret_access_key),
            ("auth.session_token", auth.session_token),
        ):
            # It goes into a header: a line end, as of a file read, would end that too.
            if secret is not None and not _PRINTABLE.fullmatch(secret.reveal()):
                self._complain(f"{key}.{field}", "holds a space or a control character")

    def _belonging(self, key: str, provider: Provider, auth: str) -> None:
        for field, owners in _OWNERS.items():
            if auth not in owners and getattr(provider.auth, field):
                self._complain(
                    f"{key}.auth.{field}",
                    f"belongs to auth.type {' or '.join(owners)}, not to {auth}",
                )
        if auth not in _OWNERS["api_key"] and provider.api_key:
            self._complain(
                f"{key}.api_key", f"belongs to auth.type api_key or bearer, not {auth}"
            )
        if provider.api_version and hosting_of(provider) != "azure":
            self._complain(f"{key}.api_version", "belongs to the hosting azure")

    def _required(self, key: str, provider: Provider, auth: str) -> None:
        hosting = hosting_of(provider)
        if hosting == "azure":
            self._azure(key, provider)
        if hosting in ("vertex", "bedrock") and not provider.region:
            self._complain(f"{key}.region", f"is required by the hosting {hosting}")
        if hosting == "vertex" and auth == "bearer" and not provider.project:
            self._complain(f"{key}.project", "is required where auth.type is bearer")
        match auth:
            case "entra":
                self._entra(key, provider)
            case "gcp_oauth":
                self._google(key, provider)
            case "aws_sigv4":
                self._aws(key, provider)
            case "api_key" | "bearer":
                self._key(key, provider, hosting)

    def _entra(self, key: str, provider: Provider) -> None:
        for field in ("tenant_id", "client_id", "client_secret"):
            if not getattr(provider.auth, field):
                self._complain(f"{key}.auth.{field}", "is required by auth.type entra")

    def _google(self, key: str, provider: Provider) -> None:
        path = provider.auth.credentials_file
        if path and not Path(path).is_file():
            self._complain(f"{key}.auth.credentials_file", "there is no such file")

    def _azure(self, key: str, provider: Provider) -> None:
        if not provider.base_url:
            self._complain(
                f"{key}.base_url",
                "is required by the hosting azure: https://NAME.openai.azure.com",
            )
        elif "/deployments" in provider.base_url:
            self._complain(
                f"{key}.base_url",
                "must not name a deployment: the model of a route's target does, and"
                " api_version is set beside",
            )

    def _aws(self, key: str, provider: Provider) -> None:
        auth = provider.auth
        if auth.access_key_id and not auth.secret_access_key:
            self._complain(
                f"{key}.auth.secret_access_key", "is required by access_key_id"
            )
        if not auth.access_key_id:
            for field in ("secret_access_key", "session_token"):
                if getattr(auth, field):
                    self._complain(
                        f"{key}.auth.access_key_id", f"is required by {field}"
                    )
        elif auth.profile:
            self._complain(f"{key}.auth.profile", "cannot be beside access_key_id")

    def _key(self, key: str, provider: Provider, hosting: str) -> None:
        if provider.api_key or provider.auth.api_key:
            return
        if provider_type(provider) in _KEYLESS:
            return
        if hosting or provider.auth.type == "bearer":
            self._complain(f"{key}.api_key", "is required by auth.type")
        elif not provider.base_url:
            self._complain(
                f"{key}.api_key", "is required where base_url is the public one"
            )


def fault_of_url(url: str) -> str:
    """Return what is wrong with ``url`` as the address of a server; "" if nothing."""
    # Without the URL itself: what is wrong with it may be that it holds a password.
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "is not a valid URL"
    if not _PRINTABLE.fullmatch(url):
        return "a URL holds no spaces and no characters beyond ASCII"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "expected an URL that begins with http:// or https:// and a host"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user name or password; set api_key instead"
    if "?" in url or "#" in url:
        return "must not hold a query or a fragment"
    return ""
