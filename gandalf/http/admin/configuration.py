"""Providers, routes and budgets: those of the file and those that the API made.

A provisioned object is read-only here: 409 names the file. A change of a managed object
is validated with the whole configuration and is in force when the answer leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import msgspec

from gandalf.config import Config, ConfigError
from gandalf.config.merge import ManagedInvalid, Merged
from gandalf.domain.audit import AuditEntry
from gandalf.domain.identity import Permission
from gandalf.domain.managed import ID_FIELD, Kind, ManagedObject, Origin
from gandalf.domain.secret import Secret
from gandalf.http.admin.audit import entry_of
from gandalf.http.admin.problems import (
    Conflict,
    FieldError,
    InvalidRequest,
    PreconditionFailed,
)
from gandalf.http.admin.scope import not_found, require_operator
from gandalf.http.admin.secrets import Secrets, fingerprint
from gandalf.http.admin.table import (
    AdminEndpoint,
    AdminReply,
    AdminRequest,
    Listed,
    Paging,
    listed,
)
from gandalf.storage.managed import Edit, Managed, VersionMismatch

MAX_NAME = 256


class Configuration(Protocol):
    """Owner of the configuration in force; ``gandalf.reloading`` has it."""

    @property
    def managed(self) -> Managed: ...

    @property
    def merged(self) -> Merged | None: ...

    async def change(
        self, edits: Sequence[Edit], entries: Sequence[AuditEntry] = ()
    ) -> Managed: ...


class ConfigObjects:
    """Handlers for one kind of object.

    Args:
        kind: Which.
        noun: The kind's name in messages.
        permission: Needed for all of it.
        config: Owner of the configuration in force.
        current: Returns the configuration in force.
        path: The file that declares provisioned objects, for messages.
        secrets: Seals secrets and hides them.
    """

    def __init__(
        self,
        kind: Kind,
        noun: str,
        permission: Permission,
        config: Configuration,
        current: Callable[[], Config],
        path: str,
        secrets: Secrets,
    ) -> None:
        self._kind = kind
        self._noun = noun
        self._permission = permission
        self._config = config
        self._current = current
        self._path = path
        self._secrets = secrets

    def endpoints(self, example: dict[str, Any]) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        base, allowed = f"/{self._kind}", (self._permission,)
        noun = self._noun
        yield AdminEndpoint(
            method="GET",
            path=base,
            summary=f"List the {noun}s, provisioned and managed.",
            handler=self.list_all,
            permissions=allowed,
            query=Paging,
            reply=Listed,
        )
        yield AdminEndpoint(
            method="POST",
            path=base,
            summary=f"Make a {noun}.",
            handler=self.create,
            permissions=allowed,
            body=dict[str, Any],
            reply=dict[str, Any],
            status=201,
            example=example,
            description=(
                "The fields are those of the configuration file. A secret is a "
                "reference to an environment variable (`${NAME}`), or the secret itself"
                " if the gateway has a master key, which seals it."
            ),
        )
        yield AdminEndpoint(
            method="GET",
            path=f"{base}/{{name}}",
            summary=f"Return one {noun}.",
            handler=self.get,
            permissions=allowed,
            reply=dict[str, Any],
        )
        yield AdminEndpoint(
            method="PUT",
            path=f"{base}/{{name}}",
            summary=f"Replace a managed {noun}.",
            handler=self.replace,
            permissions=allowed,
            body=dict[str, Any],
            reply=dict[str, Any],
            example=example,
            description=(
                "Fields that are left out have their defaults. A secret that is sent "
                "back as it was shown stays as it is."
            ),
        )
        yield AdminEndpoint(
            method="DELETE",
            path=f"{base}/{{name}}",
            summary=f"Delete a managed {noun}; running requests finish.",
            handler=self.delete,
            permissions=allowed,
        )

    async def list_all(self, asked: AdminRequest) -> AdminReply:
        objects = [self._shown(item) for item in self._in_force()]
        return listed(objects, 0, len(objects), len(objects))

    async def get(self, asked: AdminRequest) -> AdminReply:
        return self._reply(asked.path["name"])

    async def create(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        spec = spec_of(asked.body, self._kind)
        name = spec.get(ID_FIELD[self._kind])
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise InvalidRequest(
                f"{ID_FIELD[self._kind]} is required",
                FieldError(ID_FIELD[self._kind], "is required: text"),
            )
        self._refuse_provisioned(name)
        await self._change(asked, "create", name, spec, expected=0)
        reply = self._reply(name)
        return replace(reply, location=f"/{self._kind}/{name}")

    async def replace(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        name = asked.path["name"]
        self._refuse_provisioned(name)
        present = self._managed(name)
        if present is None:
            raise not_found(self._noun, name)
        spec = spec_of(asked.body, self._kind)
        if spec.setdefault(ID_FIELD[self._kind], name) != name:
            raise InvalidRequest(
                f"the {self._noun} {name!r} cannot be renamed",
                FieldError(ID_FIELD[self._kind], f"expected {name!r}"),
            )
        await self._change(
            asked, "replace", name, spec, expected=_expected(asked, present)
        )
        return self._reply(name)

    async def delete(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        name = asked.path["name"]
        self._refuse_provisioned(name)
        present = self._managed(name)
        if present is None:
            raise not_found(self._noun, name)
        await self._change(
            asked, "delete", name, None, expected=_expected(asked, present)
        )
        return AdminReply()

    def shown(self, name: str) -> dict[str, Any]:
        """Return the object ``name`` as the API shows it.

        Raises:
            NotFound: There is none.
        """
        found = self._find(name)
        if found is None:
            raise not_found(self._noun, name)
        return self._shown(found)

    # The change itself.

    async def _change(
        self,
        asked: AdminRequest,
        action: str,
        name: str,
        spec: dict[str, Any] | None,
        *,
        expected: int | None,
    ) -> None:
        present, kind = self._managed(name), self._kind
        former = None if present is None else present.spec
        if spec is not None:
            self._secrets.store(spec, former, kind, name)
        hidden = self._secrets.hidden
        entry = entry_of(
            asked,
            f"{self._kind}.{action}",
            f"{self._kind}/{name}",
            before=None if former is None else hidden(former, kind, name),
            after=None if spec is None else hidden(spec, kind, name),
        )
        edit = Edit(kind=self._kind, name=name, spec=spec, expected_version=expected)
        try:
            await self._config.change([edit], [entry])
        except ManagedInvalid as error:
            raise self._invalid(name, error) from error
        except ConfigError as error:
            raise Conflict(
                f"the configuration file is not valid at this moment: {error}"
            ) from error
        except VersionMismatch as error:
            raise self._mismatch(error) from error

    def _invalid(self, name: str, error: ManagedInvalid) -> InvalidRequest | Conflict:
        own = [
            FieldError(fault.field, fault.message)
            for fault in error.faults
            if (fault.kind, fault.name) == (self._kind, name)
        ]
        if own:
            texts = "; ".join(f"{e.field or 'the object'}: {e.message}" for e in own)
            return InvalidRequest(texts, *own)
        texts = "; ".join(
            [f"{f.kind}/{f.name} {f.field}: {f.message}" for f in error.faults]
            + [f"{p.key}: {p.message}" for p in error.others]
        )
        return Conflict(f"others depend on this {self._noun}: {texts}", code="in_use")

    def _mismatch(self, error: VersionMismatch) -> Conflict | PreconditionFailed:
        name = error.edit.name
        if error.edit.expected_version == 0:
            return Conflict(
                f"there is a {self._noun} {name!r} already", code="already_exists"
            )
        return PreconditionFailed(
            f"the {self._noun} {name!r} has changed since you read it; read it again"
        )

    def _refuse_provisioned(self, name: str) -> None:
        if self._origin(name) is Origin.PROVISIONED and self._find(name) is not None:
            raise Conflict(
                f"the {self._noun} {name!r} is declared in {self._path}; change it"
                " there and reload",
                code="provisioned",
            )

    # Reading.

    def _in_force(self) -> list[msgspec.Struct]:
        return list(getattr(self._current(), self._kind))

    def _find(self, name: str) -> msgspec.Struct | None:
        field = ID_FIELD[self._kind]
        for item in self._in_force():
            if str(getattr(item, field)) == name:
                return item
        return None

    def _managed(self, name: str) -> ManagedObject | None:
        for thing in self._config.managed.objects:
            if (thing.kind, thing.name) == (self._kind, name):
                return thing
        return None

    def _origin(self, name: str) -> Origin:
        merged = self._config.merged
        if merged is not None and (self._kind, name) in merged.provisioned:
            return Origin.PROVISIONED
        return Origin.PROVISIONED if self._managed(name) is None else Origin.MANAGED

    def _reply(self, name: str) -> AdminReply:
        found = self._find(name)
        if found is None:
            raise not_found(self._noun, name)
        thing = self._managed(name)
        etag = ""
        if thing is not None and self._origin(name) is Origin.MANAGED:
            etag = str(thing.version)
        return AdminReply(body=self._shown(found), etag=etag)

    def _shown(self, item: msgspec.Struct) -> dict[str, Any]:
        name = getattr(item, ID_FIELD[self._kind])
        shown: dict[str, Any] = {"id": name, **_builtins(item)}
        shown["origin"] = origin = self._origin(name)
        thing = self._managed(name)
        if origin is Origin.MANAGED and thing is not None:
            shown["created_at"] = thing.created_at
            shown["updated_at"] = thing.updated_at
        for target in shown.get("targets", ()):
            target["provider_id"] = target["provider"]
        return shown


# Fields of an answer that are not part of an object, and may be sent back all the same.
_SHOWN_ONLY = {
    kind: frozenset({"id", "origin", "created_at", "updated_at"})
    for kind in (Kind.PROVIDER, Kind.ROUTE)
} | {
    # Its ``id`` is the subject.
    Kind.BUDGET: frozenset({"states", "raises", "origin", "created_at", "updated_at"})
}


def spec_of(body: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """Return an object that a client sent in the form of the configuration file.

    Raises:
        InvalidRequest: It holds names or text that the file's format cannot have.
    """
    # A copy to the last level: secrets in it are replaced by sealed ones.
    copied: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    spec = {k: v for k, v in copied.items() if k not in _SHOWN_ONLY[kind]}
    targets = spec.get("targets")
    for target in targets if isinstance(targets, list) else ():
        if isinstance(target, dict) and "provider_id" in target:
            target.setdefault("provider", target["provider_id"])
            del target["provider_id"]
    _refuse_unwritable(spec)
    return spec


def _expected(asked: AdminRequest, present: ManagedObject) -> int | None:
    if asked.if_match is None:
        return None
    if asked.if_match != str(present.version):
        raise PreconditionFailed("the object has changed since you read it")
    return present.version


def _builtins(item: msgspec.Struct) -> dict[str, Any]:
    def hide(value: object) -> str:
        if isinstance(value, Secret):
            return fingerprint(value.reveal())
        raise NotImplementedError(type(value))

    shown: dict[str, Any] = msgspec.to_builtins(item, enc_hook=hide)
    return shown


def _refuse_unwritable(spec: dict[str, Any]) -> None:
    """Refuse names that the file's format has no way to write."""
    pending: list[Any] = [spec]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            for name in value:
                if len(name) > MAX_NAME or not name.isprintable():
                    raise InvalidRequest(
                        "unknown field", FieldError(name[:40], "is unknown")
                    )
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, str) and not value.isprintable():
            raise InvalidRequest("text here must be printable")
