"""What one setting alone cannot tell: addresses, names, and what refers to them.

Every check speaks of a setting by its dotted path; whoever calls knows where that is.
A required setting that is empty here has been reported before.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from gandalf.config.budgets import check_budgets
from gandalf.config.check_hosting import Complain, HostingChecker, fault_of_url
from gandalf.config.check_issuers import check_issuers
from gandalf.config.check_prices import check_prices
from gandalf.config.hostings import TYPES, hosting_of, provider_type
from gandalf.config.presets import PRESETS
from gandalf.config.settings import Config, Key, Provider, Route, Server
from gandalf.domain.keys import KEY_PREFIX, MAX_KEY_LENGTH
from gandalf.domain.secret import Secret

HOW_TO_MAKE_A_KEY = f'make one with: echo "{KEY_PREFIX}$(openssl rand -hex 32)"'

SHORTEST_ADMIN_KEY = 24
"""Characters: 120 random bits in base64url, and the prefix."""

# Where one of these is wrong, the provider that a target names may be that one.
_PROVIDER_NAMES = r"providers(\[\d+\](\.name)?)?"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MODEL = re.compile(r"[!-~]([ -~]{0,254}[!-~])?")
_HOST = re.compile(r"\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]*", re.ASCII)
_KEY = re.compile(r"[!-+\--~]+")  # printable, no space, no comma


class Checker:
    """Checks one configuration.

    Args:
        complain: Called with the path and the message of every problem.
        shown: How a message may speak of the value at a path.
        broken: Whether a path that this expression matches has a problem already.
    """

    def __init__(
        self,
        complain: Complain,
        shown: Callable[[str], str],
        broken: Callable[[str], bool],
    ) -> None:
        self._complain = complain
        self._shown = shown
        self._broken = broken

    def check(self, config: Config) -> None:
        """Check everything."""
        self._server(config.server)
        self._database(config.database.dsn)
        if config.telemetry.tracing.enabled:
            self._url("telemetry.tracing.endpoint", config.telemetry.tracing.endpoint)
        for i, provider in enumerate(config.providers):
            self._provider(f"providers[{i}]", provider)
        for i, route in enumerate(config.routes):
            self._route(f"routes[{i}]", route, config.providers)
        self._keys(config)
        check_issuers(config.auth.issuers, self._complain)
        names = {provider.name for provider in config.providers}
        check_prices(config.prices, names, self._complain, self._broken)
        check_budgets(config, self._complain)
        issuers = config.auth.issuers
        self._unique("auth.issuers", "name", [i.name for i in issuers])
        self._unique("auth.issuers", "issuer", [i.issuer for i in issuers])
        self._unique("budgets", "name", [b.name for b in config.budgets])
        self._unique("providers", "name", [p.name for p in config.providers])
        self._unique("routes", "model_alias", [r.model_alias for r in config.routes])
        self._unique("keys", "name", [k.name for k in config.keys])

    def _server(self, server: Server) -> None:
        try:
            split_address(server.addr)
        except ValueError:
            expected = "expected host:port (or :port), found "
            self._complain("server.addr", expected + self._shown("server.addr"))
        if server.tls is not None:
            for name in ("cert_file", "key_file"):
                path = getattr(server.tls, name)
                if path and not Path(path).is_file():
                    self._complain(f"server.tls.{name}", "there is no such file")

    def _database(self, dsn: str) -> None:
        if "://" in dsn:
            self._complain(
                "database.dsn",
                "expected the path of a SQLite file; other databases are not supported",
            )

    def _provider(self, key: str, provider: Provider) -> None:
        if provider.name and not _NAME.fullmatch(provider.name):
            self._complain(
                f"{key}.name", "expected up to 64 letters, digits, dots, - and _"
            )
        if provider.base_url:
            self._url(f"{key}.base_url", provider.base_url)
        for i, model in enumerate(provider.models):
            self._model(f"{key}.models[{i}]", model)
        for i, info in enumerate(provider.model_info):
            self._model(f"{key}.model_info[{i}].name", info.name)
        kind = provider_type(provider)
        if kind not in TYPES:
            self._unknown_type(key, provider, kind)
        elif hosting_of(provider) not in TYPES[kind]:
            hostings = ", ".join(hosting for hosting in TYPES[kind] if hosting)
            known = f"; supported: {hostings}" if hostings else ""
            self._complain(
                f"{key}.hosting", f"is not supported for the type {kind}{known}"
            )
        else:
            HostingChecker(self._complain).check(key, provider)

    def _unknown_type(self, key: str, provider: Provider, kind: str) -> None:
        if not kind:
            return
        known = ", ".join(name for name in TYPES if name not in PRESETS)
        if provider.type:
            shown = self._shown(f"{key}.type")
            near = _nearest(kind, TYPES)
            self._complain(
                f"{key}.type",
                f"expected one of {known} or a preset, found {shown}{near}",
            )
        else:
            self._complain(
                f"{key}.type",
                f"is required where the name is not one of {known} or a preset",
            )

    def _route(self, key: str, route: Route, providers: Iterable[Provider]) -> None:
        self._model(f"{key}.model_alias", route.model_alias)
        if not route.targets:
            self._complain(f"{key}.targets", "a route needs at least one target")
        enabled = {provider.name: provider.enabled for provider in providers}
        for i, target in enumerate(route.targets):
            path = f"{key}.targets[{i}]"
            self._model(f"{path}.model", target.model)
            if target.model == "*" and not route.model_alias.endswith("*"):
                self._complain(f"{path}.model", "* needs a model_alias that ends in *")
            if not target.provider:
                continue
            if target.provider in enabled:
                if not enabled[target.provider]:
                    self._complain(f"{path}.provider", "this provider is disabled")
            elif not self._broken(_PROVIDER_NAMES):
                shown = self._shown(f"{path}.provider")
                near = _nearest(target.provider, enabled)
                self._complain(
                    f"{path}.provider", f"there is no provider {shown}{near}"
                )

    def _keys(self, config: Config) -> None:
        seen: dict[Secret, str] = {}
        if config.auth.admin_key is not None:
            self._key("auth.admin_key", config.auth.admin_key, seen)
            self._admin_key(config.auth.admin_key)
        for i, key in enumerate(config.keys):
            self._config_key(f"keys[{i}]", key, seen)

    def _admin_key(self, key: Secret) -> None:
        if len(key.reveal()) < SHORTEST_ADMIN_KEY:
            self._complain(
                "auth.admin_key",
                f"a key of {len(key.reveal())} characters can be guessed, and this one"
                " may do everything; GANDALF_ADMIN_KEY or auth.admin_key needs"
                f" {SHORTEST_ADMIN_KEY}: {HOW_TO_MAKE_A_KEY}",
            )

    def _config_key(self, path: str, key: Key, seen: dict[Secret, str]) -> None:
        if key.name and not _MODEL.fullmatch(key.name):
            self._complain(f"{path}.name", "expected printable text")
        for i, model in enumerate(key.allowed_models):
            self._model(f"{path}.allowed_models[{i}]", model)
        if key.key:
            self._key(f"{path}.key", key.key, seen)

    def _key(self, path: str, key: Secret, seen: dict[Secret, str]) -> None:
        text = key.reveal()
        if not text.startswith(KEY_PREFIX) or text == KEY_PREFIX:
            self._complain(
                path, f"a key must begin with {KEY_PREFIX}; {HOW_TO_MAKE_A_KEY}"
            )
        elif not _KEY.fullmatch(text) or len(text) > MAX_KEY_LENGTH:
            self._complain(
                path,
                f"a key is at most {MAX_KEY_LENGTH} printable characters, no space and"
                f" no comma; {HOW_TO_MAKE_A_KEY}",
            )
        elif key in seen:
            self._complain(path, f"is the same key as {seen[key]}")
        else:
            seen[key] = path

    def _model(self, path: str, model: str) -> None:
        if model and not _MODEL.fullmatch(model):
            self._complain(path, "expected up to 256 printable ASCII characters")

    def _url(self, path: str, url: str) -> None:
        message = fault_of_url(url)
        if message:
            self._complain(path, message)

    def _unique(self, section: str, field: str, names: list[str]) -> None:
        first: dict[str, int] = {}
        for i, name in enumerate(names):
            if name and name in first:
                same = f"{section}[{first[name]}]"
                self._complain(f"{section}[{i}].{field}", f"is also that of {same}")
            first.setdefault(name, i)


def split_address(addr: str) -> tuple[str, int]:
    """Return host and port of ``host:port``, ``:port`` or ``[ipv6]:port``.

    The host is "" for every address, and without brackets. Port 0 means any free one.

    Raises:
        ValueError: It is none of these.
    """
    host, colon, port = addr.rpartition(":")
    if not colon or not _HOST.fullmatch(host) or not re.fullmatch("[0-9]{1,5}", port):
        raise ValueError(f"not host:port: {addr!r}")
    if int(port) > 65535:
        raise ValueError(f"no such port: {port}")
    return host.strip("[]"), int(port)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
