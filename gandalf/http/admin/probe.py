"""A real request to a provider, to see whether it works and how fast it answers.

The list of models is asked for where the provider has one: that costs nothing. With a
model, or where there is no list, the smallest chat request is sent; it is recorded and
charged like a request of the caller's key.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any, NamedTuple, Protocol

import msgspec
import trio
from msgspec import Meta

from gandalf.actors.ledger import Ledger
from gandalf.actors.routes import RouteTable, Snapshot, targets_of
from gandalf.dialects import openai
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.translation import translate_request
from gandalf.domain.audit import AuditEntry
from gandalf.domain.errors import UpstreamError, UpstreamTimeout
from gandalf.domain.identity import Identity, Permission
from gandalf.domain.ids import new_id
from gandalf.domain.prices import Rating
from gandalf.domain.usage import (
    Attempt,
    EndReason,
    TokenUsage,
    UsageRecord,
    UsageSource,
)
from gandalf.http.admin.audit import entry_of
from gandalf.http.admin.problems import Conflict
from gandalf.http.admin.scope import not_found, require_operator
from gandalf.http.admin.table import AdminEndpoint, AdminReply, AdminRequest
from gandalf.http.admin.usage_rows import usd
from gandalf.http.admin.values import text
from gandalf.pipeline.failure_policy import classify, error_of, in_band_error
from gandalf.providers.base import (
    Ask,
    ListsModels,
    Provider,
    UpstreamRequest,
    UpstreamResponse,
)
from gandalf.providers.watch import UpstreamBroken, Watch

MAX_SECONDS = 30.0
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_TOKENS = 16
"""Output tokens of a chat request: some models refuse fewer."""

_NO_LIST = frozenset({404, 405, 501})
"""Statuses of servers that have no list of models."""


class Journal(Protocol):
    """The place of the usage records; ``actors.usage_journal`` has it."""

    def reserve(self) -> None: ...

    def release(self) -> None: ...

    def write(self, record: UsageRecord) -> None: ...

    def flush(self) -> None: ...


class ProbeRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How to test a provider."""

    model: str = ""
    """The provider's name of a model to send a chat request to. Empty: its list of
    models is asked for if it has one, else the first model of the routes."""
    timeout_seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS)] = 10.0
    """Limit for the whole test; up to 30."""


class ProbeView(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a test."""

    provider: str
    ok: bool
    probe: str
    """``models`` (its list was read) or ``chat``."""
    model: str
    status: int | None
    """The upstream's; null if it did not answer."""
    latency_ms: float
    """From sending to the end of the answer, connecting included."""
    message: str
    """What went wrong, or what was found."""
    code: str
    """Code of the error; empty if there is none."""
    fault: str
    """The party at fault: ``target``, ``credentials``, ``request``, ..."""
    failover: bool
    """Whether a request that fails so is sent to the next target."""
    retry: bool
    """Whether it is sent to this one again."""
    cost_usd: Any
    """Null: not known."""
    request_id: str
    """Id of the usage record of a chat request."""


class _Probe(NamedTuple):
    kind: str
    model: str
    request: UpstreamRequest


class _Outcome(NamedTuple):
    probe: _Probe
    status: int | None
    latency: float
    body: bytes
    error: UpstreamError | None


class ProviderTest:
    """Handler of the test.

    Args:
        routes: The configuration in force.
        journal: The place of usage records.
        ledger: Owner of the budgets.
        append: Appends to the audit trail.
    """

    def __init__(
        self,
        routes: RouteTable,
        journal: Journal,
        ledger: Ledger,
        append: Callable[[AuditEntry], Awaitable[None]],
    ) -> None:
        self._routes = routes
        self._journal = journal
        self._ledger = ledger
        self._append = append

    def endpoints(self) -> Iterator[AdminEndpoint]:
        """Yield the rows of the table."""
        yield AdminEndpoint(
            method="POST",
            path="/providers/{name}/test",
            summary="Send a real request to a provider and report status, latency and"
            " verdict.",
            handler=self.test,
            permissions=(Permission.MANAGE_PROVIDERS,),
            body=ProbeRequest,
            reply=ProbeView,
            example={"model": "gpt-5-mini"},
            description=(
                "Without a `model` the list of models is read where there is one, which"
                " costs nothing. A chat request is recorded and charged. 200 also if"
                " the provider fails: `ok` tells."
            ),
        )

    async def test(self, asked: AdminRequest) -> AdminReply:
        require_operator(asked.identity)
        wanted: ProbeRequest = asked.body
        name, model = asked.path["name"], text("model", wanted.model)
        snapshot = self._routes.current
        provider = self._provider(snapshot, name)
        # The entry first: what cannot be recorded is not done.
        await self._append(
            entry_of(asked, "providers.test", f"providers/{name}", after=_plain(wanted))
        )
        deadline = trio.current_time() + wanted.timeout_seconds
        outcome = None
        if not model:
            outcome = await self._list_models(snapshot, provider, deadline)
            model = _first_model(snapshot, name)
            if outcome is None and not model:
                raise Conflict(
                    f"the provider {name!r} has no list of models, and no route names"
                    " a model of it; send the name of one as model"
                )
            if outcome is not None and (outcome.status not in _NO_LIST or not model):
                return AdminReply(body=_view(name, outcome, None, "", None))
        return AdminReply(
            body=await self._chat(asked.identity, snapshot, provider, model, deadline)
        )

    def _provider(self, snapshot: Snapshot, name: str) -> Provider:
        sections = {section.name: section for section in snapshot.config.providers}
        if name not in sections:
            raise not_found("provider", name)
        if not sections[name].enabled:
            raise Conflict(f"the provider {name!r} is disabled; enable it first")
        return snapshot.providers[name]

    async def _list_models(
        self, snapshot: Snapshot, provider: Provider, deadline: float
    ) -> _Outcome | None:
        if not isinstance(provider, ListsModels):
            return None

        async def make() -> _Probe:
            return _Probe("models", "", await provider.models_request())

        return await _run(snapshot, provider, make, deadline)

    async def _chat(
        self,
        identity: Identity,
        snapshot: Snapshot,
        provider: Provider,
        model: str,
        deadline: float,
    ) -> ProbeView:
        async def make() -> _Probe:
            ask = _chat_request(provider, model)
            return _Probe("chat", model, await provider.request(ask))

        self._journal.reserve()
        try:
            outcome = await _run(snapshot, provider, make, deadline)
            usage, outcome = _read(provider, outcome)
        except BaseException:
            self._journal.release()
            raise
        price = snapshot.prices.of_model(provider.name, model)
        cost: int | None = 0
        rating = None
        if usage is not None:
            now = time.time()
            cost, rating = (None, None) if price is None else price.rate(usage, now)
        record = _record(identity, provider, outcome, usage, (cost, rating))
        self._journal.write(record)
        self._journal.flush()
        if record.charged_at:
            self._ledger.charge_key(record.key_id, record.charged_nanousd)
            # All rules are later than a reservation that was never made.
            self._ledger.charge_later_rules(record, -1)
        return _view(provider.name, outcome, cost, record.request_id, usage)


async def _run(
    snapshot: Snapshot,
    provider: Provider,
    make: Callable[[], Awaitable[_Probe]],
    deadline: float,
) -> _Outcome:
    """Send a probe and read its answer, until ``deadline``."""
    started = trio.current_time()
    probe = _Probe("chat", "", UpstreamRequest(b"", b"", b"", b""))
    response: UpstreamResponse | None = None
    status: int | None = None
    body = b""
    error: UpstreamError | None = None
    try:
        with trio.move_on_at(deadline) as scope:
            probe = await make()
            response = await snapshot.upstreams[provider.name].send(
                probe.request, provider.timeouts, Watch()
            )
            status = response.status
            body = await _body(response)
            if not 200 <= status < 300:
                error = error_of(provider, status, response.headers, body)
        if scope.cancelled_caught:
            limit = deadline - started
            error = UpstreamTimeout(provider.name, "total", limit)
    except UpstreamBroken as broken:
        error = UpstreamError(provider.name, str(broken), fault=broken.fault)
    except UpstreamError as failed:
        error = failed
    finally:
        if response is not None:
            response.close()
    return _Outcome(probe, status, trio.current_time() - started, body, error)


async def _body(response: UpstreamResponse) -> bytes:
    body = b""
    while piece := await response.receive():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise UpstreamBroken("the answer is too large", sent=True)
    return body


def _chat_request(provider: Provider, model: str) -> Ask:
    """Return the smallest chat request, in the provider's dialect."""
    body = msgspec.json.encode(
        {
            "model": model,
            "messages": [{"role": "user", "content": "Say ok."}],
            "max_completion_tokens": MAX_TOKENS,
        }
    )
    if provider.dialect is openai:
        return Ask(operation="chat", model=model, body=body)
    translated = translate_request(
        openai.read_call("chat", body),
        provider.dialect,
        provider.model(model),
        source=openai,
        strict=False,
    )
    return Ask(operation=translated.operation, model=model, body=translated.body)


def _read(provider: Provider, outcome: _Outcome) -> tuple[TokenUsage | None, _Outcome]:
    """Return what a chat request used, and its outcome in the light of the answer."""
    if outcome.error is not None:
        return None, outcome
    try:
        answer = provider.dialect.read_answer("chat", outcome.body)
    except UNREADABLE:
        answer = None
    if answer is None:
        error = UpstreamError(provider.name, "its answer is not what its API says")
        return None, outcome._replace(error=error)
    if answer.failed is not None and not answer.usage:
        return None, outcome._replace(error=in_band_error(provider, answer.failed))
    return answer.usage, outcome


def _first_model(snapshot: Snapshot, provider: str) -> str:
    for target in targets_of(snapshot.routes):
        if target.provider == provider:
            return target.model
    return ""


def _record(
    identity: Identity,
    provider: Provider,
    outcome: _Outcome,
    usage: TokenUsage | None,
    priced: tuple[int | None, Rating | None],
) -> UsageRecord:
    cost, rating = priced
    error, now = outcome.error, time.time()
    attempt = Attempt(
        target=f"{provider.name}/{outcome.probe.model}",
        duration=outcome.latency,
        status=outcome.status,
        outcome="served" if error is None else error.code,
        decision="answer" if error is None else "give_up",
        reason="" if error is None else error.message[:200],
    )
    return UsageRecord(
        request_id=new_id(),
        client_request_id="",
        received_at=now - outcome.latency,
        operation="chat",
        dialect=openai.NAME,
        key_id=identity.key_id,
        org_id=identity.org_id,
        team_id=identity.team_id,
        user_id=identity.user_id,
        alias="",
        provider=provider.name,
        model=outcome.probe.model,
        stream=False,
        status=200 if error is None else error.status,
        end_reason=EndReason.COMPLETE if error is None else EndReason.FAILED,
        error_code="" if error is None else error.code,
        cache="bypass",
        tokens=usage or TokenUsage(),
        usage_source=UsageSource.NONE if usage is None else UsageSource.PROVIDER,
        estimated_tokens=0,
        latency=outcome.latency,
        ttft=None,
        overhead=0.0,
        attempts=(attempt,),
        error_message="" if error is None else error.message,
        cost_nanousd=cost,
        rating=rating,
        charged_at=0 if usage is None else int(now),
        charged_nanousd=cost or 0,
    )


def _view(
    name: str,
    outcome: _Outcome,
    cost: int | None,
    request_id: str,
    usage: TokenUsage | None,
) -> ProbeView:
    probe, error = outcome.probe, outcome.error
    policy = None if error is None else classify(error)
    if probe.kind == "models":
        cost = 0
    return ProbeView(
        provider=name,
        ok=error is None,
        probe=probe.kind,
        model=probe.model,
        status=outcome.status,
        latency_ms=round(outcome.latency * 1000, 3),
        message=_found(outcome, usage) if error is None else error.message,
        code="" if error is None else error.code,
        fault="" if policy is None else policy.fault.value,
        failover=policy is not None and policy.failover,
        retry=policy is not None and policy.retry,
        cost_usd=None if cost is None else usd(cost),
        request_id=request_id,
    )


def _found(outcome: _Outcome, usage: TokenUsage | None) -> str:
    if outcome.probe.kind == "chat":
        tokens = "an unknown number of" if usage is None else str(usage.total_tokens)
        return f"answered, with {tokens} tokens in all"
    try:
        listed = msgspec.json.decode(outcome.body)
    except UNREADABLE:
        return "answered, but not with a list of models"
    for name in ("data", "models"):
        if isinstance(listed, dict) and isinstance(listed.get(name), list):
            return f"answered with a list of {len(listed[name])} models"
    return "answered"


def _plain(wanted: ProbeRequest) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(wanted)
    return plain
