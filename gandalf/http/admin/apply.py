"""All managed objects as one document: written by export, reconciled by apply.

An apply is one transaction: everything that the document changes, with its audit
entries, or nothing. ``If-Match`` with the entity tag of an export or of a dry run makes
sure that nothing has changed since: of two applies at once one wins, and the other is
answered with 412.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any, Protocol, TypeVar

import msgspec

from gandalf.config import ConfigError
from gandalf.config.merge import ManagedInvalid, Merged
from gandalf.domain.identity import Permission
from gandalf.domain.managed import ID_FIELD, Kind
from gandalf.domain.state import Changes, ManagedState
from gandalf.domain.tenants import TenantKind
from gandalf.http.admin.audit import entry_of
from gandalf.http.admin.plan import (
    Document,
    ObjectChange,
    Planned,
    Planner,
    document_of,
    version_of,
)
from gandalf.http.admin.problems import (
    Conflict,
    FieldError,
    InvalidRequest,
    PreconditionFailed,
)
from gandalf.http.admin.scope import require_operator
from gandalf.http.admin.secrets import Secrets
from gandalf.http.admin.table import AdminEndpoint, AdminReply, AdminRequest
from gandalf.storage.reconcile import Plan
from gandalf.storage.tenants import NoSuchParent, TenantExists, TenantInUse

T = TypeVar("T")

_ALLOWED = (Permission.MANAGE_PROVIDERS,)


class Reconciler(Protocol):
    """Owner of the managed state; ``gandalf.reloading`` has it."""

    @property
    def merged(self) -> Merged | None: ...

    async def look(self, at: Callable[[ManagedState], T]) -> T: ...

    async def reconcile(self, plan: Plan, *, dry_run: bool = False) -> None: ...


class ApplyQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How to apply a document."""

    dry_run: bool = False
    """Answer with the changes, validated whole, and make none."""
    prune: bool = False
    """Delete managed objects that are not in the document's sections; revoke keys."""


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to export."""

    key_hashes: bool = False
    """Include the hashes of keys, with which an apply restores them."""


class MadeKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that an apply has made."""

    id: str
    name: str
    key: str
    """Shown this once."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """Result of an apply."""

    applied: bool
    """False after a dry run."""
    version: str
    """Entity tag of the state that the changes start from, for ``If-Match``."""
    changes: list[ObjectChange]
    made_keys: list[MadeKey] = []


class ApplyEndpoints:
    """Handlers of apply and export.

    Args:
        state: The managed state.
        refresh: Returns once a change is in force.
        path: The configuration file, for messages.
        secrets: Seals secrets and hides them.
    """

    def __init__(
        self,
        state: Reconciler,
        refresh: Callable[[], Awaitable[None]],
        path: str,
        secrets: Secrets,
    ) -> None:
        self._secrets = secrets
        self._state = state
        self._refresh = refresh
        self._path = path

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        yield AdminEndpoint(
            method="GET",
            path="/export",
            summary="Return all managed objects as a document for apply.",
            handler=self.export,
            permissions=_ALLOWED,
            query=ExportQuery,
            reply=Document,
            description=(
                "Provisioned objects and the text of keys are not in it. The `ETag` is"
                " that of the whole state."
            ),
        )
        yield AdminEndpoint(
            method="POST",
            path="/apply",
            summary="Change the managed objects until they are as a document says.",
            handler=self.apply,
            permissions=_ALLOWED,
            query=ApplyQuery,
            body=Document,
            reply=Applied,
            example={
                "organizations": [{"id": "acme", "tpm_limit": 1_000_000}],
                "teams": [{"id": "research", "org_id": "acme"}],
                "keys": [{"name": "web-app", "org_id": "acme", "team_id": "research"}],
            },
            description=(
                "One transaction: all of it or nothing. With `dry_run=true` the"
                " changes are returned and not made; their `version` as `If-Match` of"
                " the apply itself makes sure that nothing has changed in between"
                " (412). Sections that are left out stay as they are. With `prune=true`"
                " objects that a section does not name are deleted, keys revoked."
            ),
        )

    async def export(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        provisioned, key_hashes = self._provisioned(), asked.query.key_hashes
        secrets = self._secrets

        def written(state: ManagedState) -> tuple[bytes, str]:
            document = document_of(state, provisioned, secrets, key_hashes=key_hashes)
            return msgspec.json.encode(document), version_of(state)

        body, etag = await self._state.look(written)
        return AdminReply(raw=body, etag=etag)

    async def apply(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        dry_run: bool = asked.query.dry_run
        planner = Planner(
            asked.body,
            prune=asked.query.prune,
            provisioned=self._provisioned(),
            path=self._path,
            secrets=self._secrets,
            own_key=asked.identity.key_id,
        )
        run = _Run(asked, planner)
        try:
            await self._state.reconcile(run.plan, dry_run=dry_run)
        except ManagedInvalid as error:
            raise _invalid(asked.body, error) from error
        except ConfigError as error:
            raise Conflict(
                f"the configuration file is not valid at this moment: {error}"
            ) from error
        except NoSuchParent as error:
            raise InvalidRequest(str(error), FieldError("", str(error))) from error
        except (TenantInUse, TenantExists) as error:
            raise Conflict(
                f"keys (revoked ones too), teams or users belong to {error}; block it"
                " instead, or delete them first",
                code="in_use",
            ) from error
        if not dry_run:
            await self._refresh()
        return AdminReply(body=run.result(applied=not dry_run), etag=run.version)

    def _provisioned(self) -> Collection[tuple[Kind, str]]:
        merged = self._state.merged
        return () if merged is None else merged.provisioned


class _Run:
    """One apply: its plan, made in the transaction, and its result."""

    def __init__(self, asked: AdminRequest, planner: Planner) -> None:
        self._asked = asked
        self._planner = planner
        self._planned: list[Planned] = []
        self.version = ""

    def plan(self, state: ManagedState) -> Changes:
        """Return the change to write. Runs in the database's thread."""
        self.version = version_of(state)
        if self._asked.if_match not in (None, self.version):
            raise PreconditionFailed(
                "objects have changed since the version in If-Match; look at the"
                " changes again"
            )
        self._planned = planned = self._planner.plan(state)
        return Changes(
            objects=tuple(
                (Kind(p.change.kind), p.change.id, p.thing)
                for p in planned
                if p.change.kind in set(Kind)
            ),
            new_tenants=_things(planned, "create", _TENANTS),
            changed_tenants=_things(planned, "update", _TENANTS),
            removed_tenants=_things(planned, "delete", _TENANTS),
            new_keys=_things(planned, "create", ("keys",)),
            changed_keys=(
                *_things(planned, "update", ("keys",)),
                *_things(planned, "revoke", ("keys",)),
            ),
            entries=tuple(
                entry_of(
                    self._asked,
                    f"{p.change.kind}.{p.change.action}",
                    f"{p.change.kind}/{p.change.id}",
                    org_id=p.change.org_id,
                    before=p.before,
                    after=p.after,
                )
                for p in planned
            ),
        )

    def result(self, *, applied: bool) -> Applied:
        """Return the answer. The text of keys is in it only if they were made."""
        made = self._planner.made if applied else []
        return Applied(
            applied=applied,
            version=self.version,
            changes=[planned.change for planned in self._planned],
            made_keys=[
                MadeKey(id=key.key_id, name=key.name, key=secret.reveal())
                for key, secret in made
            ],
        )


_TENANTS = tuple(str(kind) for kind in TenantKind)


def _things(
    planned: list[Planned], action: str, kinds: Collection[str]
) -> tuple[Any, ...]:
    return tuple(
        p.thing for p in planned if p.change.action == action and p.change.kind in kinds
    )


def _invalid(document: Document, error: ManagedInvalid) -> InvalidRequest:
    errors = [
        FieldError(
            f"{_place(document, fault.kind, fault.name)}.{fault.field}".rstrip("."),
            fault.message,
        )
        for fault in error.faults
    ]
    errors += [FieldError(problem.key, problem.message) for problem in error.others]
    return InvalidRequest("; ".join(f"{e.field}: {e.message}" for e in errors), *errors)


def _place(document: Document, kind: Kind, name: str) -> str:
    for i, body in enumerate(getattr(document, kind) or ()):
        if body.get(ID_FIELD[kind]) == name:
            return f"{kind}[{i}]"
    return f"{kind}/{name}"
