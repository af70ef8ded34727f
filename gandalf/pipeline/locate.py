"""Where a request goes that is about something an upstream keeps.

Files, batches and stored responses are at one provider each, under a key that all
organisations share. A request that names one goes there, if it is the caller's own
organisation's; else there is no such thing. A request that names a model may refer to
objects too, a chat to files: of the model's targets those are left that have them.

New files go to the provider that the request's ``x-gandalf-provider`` names, or else
to the first of the configuration (by priority, then order) that speaks OpenAI's dialect
over the network. A new batch goes where its input file is.

Lists are made from what is known here, for an upstream's would show everybody's
objects: each as it was last described. Output files of a batch that nobody has
retrieved yet are shown by their id alone.

Batches are for providers that allow them (``allow_batches``), and for keys without an
allow-list and without a limit of tokens: what they ask for, how much, and of whose
objects, is in a file that the gateway does not read.

Usage that is told again with each answer about an object is accounted for once: with
the first answer that tells it.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import parse_qs

import msgspec

from gandalf.actors.object_table import ObjectTable
from gandalf.actors.routes import RouteTable
from gandalf.dialects.openai.passthrough import KINDS, Action, PassthroughCall
from gandalf.dialects.openai.references import chat_references
from gandalf.dialects.registry import OPENAI
from gandalf.domain.errors import (
    BadRequest,
    Fault,
    NotFound,
    PermissionDenied,
    UpstreamUnavailable,
)
from gandalf.domain.identity import Identity
from gandalf.domain.objects import ID, ProviderObject, SeenObject
from gandalf.domain.routing import Target
from gandalf.pipeline.exchange import Exchange, Reply
from gandalf.pipeline.stage import Entered
from gandalf.providers.base import RemoteProvider
from gandalf.storage.objects import PageQuery

PROVIDER_HEADER = b"x-gandalf-provider"

DEFAULT_LIMITS = {"files": 1000, "batches": 20}
MAX_LIMITS = {"files": 1000, "batches": 100}
"""Objects in a list; OpenAI's own is 10,000 files, of which clients page as well."""


class Locate:
    """Finds the provider of a request that is about objects, and remembers new ones.

    Comes after SelectTargets, which leaves requests without a model to it, and before
    Dispatch.
    """

    def __init__(self, objects: ObjectTable, routes: RouteTable) -> None:
        self._objects = objects
        self._routes = routes

    def enter(self, exchange: Exchange) -> Entered:
        call, identity = exchange.call, exchange.identity
        assert identity is not None  # noqa: S101 - authenticate comes before
        assert call is not None  # noqa: S101 - read_call comes before
        if isinstance(call, PassthroughCall):
            return self._find(exchange, call, identity)
        if exchange.dialect is OPENAI and exchange.operation == "chat":
            references = chat_references(call.body)
            if references:
                return self._tie(exchange, references, identity)
        return None

    def settle(self, exchange: Exchange) -> None:
        call = exchange.call
        if not isinstance(call, PassthroughCall):
            return
        call.on_object = None
        counts = call.usage_counts
        if not (call.action is Action.CREATE if counts is None else counts):
            exchange.usage = None
        # A generation may have been paid for unsaid; looking after objects is free, and
        # so is counting tokens.
        free = not call.model or call.action is Action.COUNT
        if exchange.usage is None and free:
            exchange.upstream_worked = False

    async def _find(
        self, exchange: Exchange, call: PassthroughCall, identity: Identity
    ) -> Reply | None:
        if call.action is Action.LIST:
            return await self._list(exchange, call, identity)
        if call.action is Action.CREATE and call.operation in KINDS and call.stored:
            self._objects.admit()
        call.on_object = partial(self._note, exchange)
        exchange.targets = await self._targets(exchange, call, identity)
        return None

    async def _targets(
        self, exchange: Exchange, call: PassthroughCall, identity: Identity
    ) -> tuple[Target, ...]:
        if call.object_id:
            kind = KINDS[call.operation]
            one = await self._own(identity, call.object_id, kind)
            return (self._target(one.provider),)
        if call.operation == "batches":
            self._require_unlimited(exchange, identity)
        places = await self._places(call.references, identity)
        if call.model:
            return self._narrowed(exchange, places)
        provider = places.pop() if places else self._chosen(exchange)
        if call.operation == "batches":
            self._require_batches(provider)
        return (self._target(provider),)

    async def _tie(
        self, exchange: Exchange, references: tuple[str, ...], identity: Identity
    ) -> None:
        """Leave a chat to the targets that have the files it refers to."""
        places = await self._places(references, identity)
        exchange.targets = _there(exchange.targets, places)

    async def _places(
        self, references: tuple[str, ...], identity: Identity
    ) -> set[str]:
        places = {
            (await self._own(identity, reference)).provider for reference in references
        }
        if len(places) > 1:
            raise BadRequest("the request refers to objects at different providers")
        return places

    async def _own(
        self, identity: Identity, object_id: str, kind: str = ""
    ) -> ProviderObject:
        """Return the organisation's object of this id, and kind if that is given."""
        found = None
        if ID.fullmatch(object_id):
            found = await self._objects.get(identity.org_id, object_id)
        if found is None or (kind and found.kind != kind):
            shown = object_id if len(object_id) <= 100 else f"{object_id[:100]}..."
            raise NotFound(f"there is no {kind or 'object'} {shown!r}")
        return found

    def _target(self, provider: str) -> Target:
        if provider not in self._routes.current.providers:
            raise UpstreamUnavailable(
                provider,
                "it has the object, and is not configured any more",
                fault=Fault.GATEWAY,
                should_retry=False,
            )
        return Target(provider=provider, model="")

    def _narrowed(self, exchange: Exchange, places: set[str]) -> tuple[Target, ...]:
        """Return those of the model's targets that can serve the request."""
        providers = self._routes.current.providers
        speaking = tuple(
            target
            for target in exchange.targets
            if target.provider in providers
            and providers[target.provider].dialect is exchange.dialect
        )
        if not speaking:
            raise BadRequest(
                f"no provider of this model has {exchange.operation}",
                code="unsupported_operation",
            )
        return _there(speaking, places) if places else speaking

    def _chosen(self, exchange: Exchange) -> str:
        """Return the provider for a new object that nothing ties to one."""
        snapshot, identity = self._routes.current, exchange.identity
        sections = {section.name: section for section in snapshot.config.providers}
        able = [
            name
            for name, provider in snapshot.providers.items()
            if isinstance(provider, RemoteProvider)
            and provider.dialect is exchange.dialect
            and (identity is None or identity.may_use_provider(name))
        ]
        wish = exchange.headers.get(PROVIDER_HEADER)
        if wish is not None:
            able = [name for name in able if name.encode() == wish]
        if not able:
            raise BadRequest(
                f"no provider of that name has {exchange.operation}"
                if wish is not None
                else f"no provider has {exchange.operation}",
                code="unsupported_operation",
                param=PROVIDER_HEADER.decode() if wish is not None else None,
            )
        return min(able, key=lambda name: sections[name].priority)

    def _require_unlimited(self, exchange: Exchange, identity: Identity) -> None:
        limits = exchange.limits
        listed = identity.allowed_models or identity.allow_lists
        limited = any(level.limits.tpm for level in identity.levels)
        if listed or limited or (limits is not None and limits.tpm):
            raise PermissionDenied(
                "batches need an api key without a list of allowed models and without"
                " a limit of tokens (tpm_limit: 0): the gateway cannot tell what a"
                " batch will use",
                code="batches_not_allowed",
            )

    def _require_batches(self, provider: str) -> None:
        for section in self._routes.config().providers:
            if section.name == provider and section.allow_batches:
                return
        raise PermissionDenied(
            "the provider that has the file is not configured to allow batches",
            code="batches_not_allowed",
        )

    # What answers tell of objects.

    def _note(self, exchange: Exchange, seen: SeenObject) -> None:
        call, identity = exchange.call, exchange.identity
        assert isinstance(call, PassthroughCall)  # noqa: S101 - see enter
        assert identity is not None  # noqa: S101 - see enter
        provider = _asked(exchange)
        if not ID.fullmatch(seen.id) or not provider:
            return
        if seen.deleted:
            self._objects.forget(identity.org_id, seen.id)
            return
        one = ProviderObject(
            id=seen.id,
            kind=seen.kind,
            provider=provider,
            org_id=identity.org_id,
            key_id=identity.key_id,
            usage_due=seen.usage_due,
            shown=seen.shown,
        )
        if seen.kind == KINDS.get(call.operation):
            self._claim_usage(call, one)
        self._objects.note(one)

    def _claim_usage(self, call: PassthroughCall, one: ProviderObject) -> None:
        """Decide who accounts for the usage of what goes on behind an answer."""
        if one.usage_due:
            call.announced = True
        elif call.usage_counts is None and (
            call.announced or call.action is not Action.CREATE
        ):
            call.usage_counts = self._objects.claim_usage(one)

    # Lists.

    async def _list(
        self, exchange: Exchange, call: PassthroughCall, identity: Identity
    ) -> Reply:
        kind = KINDS[call.operation]
        if kind == "response":
            raise NotFound("responses cannot be listed")
        query = _page_query(exchange.query, call.operation, identity.org_id)
        page = await self._objects.page(query)
        if page is None:
            raise NotFound(f"there is no {kind} {query.after[:100]!r}")
        shown = [_described(one) for one in page.objects]
        ids = [one.id for one in page.objects]
        body = msgspec.json.encode(
            {
                "object": "list",
                "data": shown,
                "first_id": ids[0] if ids else None,
                "last_id": ids[-1] if ids else None,
                "has_more": page.more,
            }
        )
        return Reply(200, b"application/json", body)


def _there(targets: tuple[Target, ...], places: set[str]) -> tuple[Target, ...]:
    there = tuple(target for target in targets if target.provider in places)
    if not there:
        raise BadRequest(
            "no provider of this model has what the request refers to",
            code="object_elsewhere",
        )
    return there


def _described(one: ProviderObject) -> msgspec.Raw:
    if one.shown:
        return msgspec.Raw(one.shown.encode())
    return msgspec.Raw(msgspec.json.encode({"id": one.id, "object": one.kind}))


def _asked(exchange: Exchange) -> str:
    """Return the provider that is being asked, or was last."""
    if not exchange.attempts:
        return ""
    name = exchange.attempts[-1].target
    return next((t.provider for t in exchange.targets if t.name == name), "")


def _page_query(query: bytes, operation: str, org_id: str) -> PageQuery:
    try:
        fields = parse_qs(query.decode("ascii"), max_num_fields=20)
    except ValueError as error:
        raise BadRequest("the query cannot be read") from error
    limit = _one(fields, "limit") or str(DEFAULT_LIMITS[operation])
    if not (limit.isascii() and limit.isdigit()) or not 0 < int(limit[:9]) <= 10_000:
        raise BadRequest("limit must be a number from 1 to 10000", param="limit")
    order = _one(fields, "order") or "desc"
    if order not in ("asc", "desc"):
        raise BadRequest("order must be asc or desc", param="order")
    return PageQuery(
        org_id=org_id,
        kind=KINDS[operation],
        limit=min(int(limit[:9]), MAX_LIMITS[operation]),
        after=_one(fields, "after"),
        oldest_first=order == "asc",
        purpose=_one(fields, "purpose"),
    )


def _one(fields: dict[str, list[str]], name: str) -> str:
    values = fields.get(name, [])
    if len(values) > 1:
        raise BadRequest(f"the query has more than one {name}", param=name)
    return values[0] if values else ""
