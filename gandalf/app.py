"""The wiring: every part is made here and handed what it needs.

Read ``_Gateway`` from top to bottom and you have seen all of it: what owns state, the
stages of a request in their order, and the actors in the order in which they start.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import trio

from gandalf import __version__, config
from gandalf.actors.accounts import Crossing
from gandalf.actors.breakers import Breakers
from gandalf.actors.connector import Connector
from gandalf.actors.credentials import Credentials
from gandalf.actors.first_key import NoKey, announcement, ensure_key
from gandalf.actors.key_table import KeyTable
from gandalf.actors.ledger import Ledger
from gandalf.actors.ledger_upkeep import LedgerUpkeep
from gandalf.actors.limiter import RateLimiter
from gandalf.actors.notifier import Notifier
from gandalf.actors.object_table import ObjectTable
from gandalf.actors.response_cache import ResponseCache
from gandalf.actors.retry_budget import RetryBudget
from gandalf.actors.routes import RouteTable
from gandalf.actors.supervisor import Actor, supervise
from gandalf.actors.token_issuers import TokenIssuers
from gandalf.actors.usage_journal import UsageJournal
from gandalf.actors.usage_keeper import UsageKeeper
from gandalf.actors.watches import Watches
from gandalf.config.merge import Merged, load_merged
from gandalf.config.sealing import master_keys
from gandalf.core_dumps import forbid_core_dumps
from gandalf.domain.managed import ManagedObject
from gandalf.http.connection import Counters
from gandalf.http.edge import serve
from gandalf.http.front import Front
from gandalf.http.gateway import Gateway
from gandalf.http.issuer_documents import IssuerDocuments
from gandalf.http.key_page import KeyPage
from gandalf.http.model_views import ModelViews
from gandalf.http.outbox import outbox
from gandalf.http.page import OnRefused, not_reported
from gandalf.http.system_pages import SystemPages
from gandalf.http.upstreams import IdleCloser, credentials_of, make_snapshot
from gandalf.http.webhooks import WebhookClient
from gandalf.pipeline.authenticate import Authenticate
from gandalf.pipeline.authorize import Authorize, AuthorizeModel
from gandalf.pipeline.cache_lookup import CacheLookup
from gandalf.pipeline.decode_body import DecodeBody
from gandalf.pipeline.dispatch import Dispatch
from gandalf.pipeline.locate import Locate
from gandalf.pipeline.rate_limit import RateLimit
from gandalf.pipeline.read_call import ReadCall
from gandalf.pipeline.record_usage import Observer, RecordUsage
from gandalf.pipeline.reserve import Reserve, cost_after_crash
from gandalf.pipeline.select_targets import SelectTargets
from gandalf.pipeline.stage import Pipeline, Stage
from gandalf.pipeline.trace import Trace
from gandalf.reloading import ConfigManager, without_faults
from gandalf.storage.audit import AuditLog
from gandalf.storage.budgets import BudgetStore
from gandalf.storage.database import Database
from gandalf.storage.errors import StorageError
from gandalf.storage.journal import JournalDirectory
from gandalf.storage.keys import KeyStore
from gandalf.storage.managed import Managed, ManagedStore
from gandalf.storage.objects import ObjectStore
from gandalf.storage.reconcile import StateStore
from gandalf.storage.request_search import RequestSearch
from gandalf.storage.requests import RequestRecords
from gandalf.storage.tenants import TenantStore
from gandalf.storage.usage import UsageTable
from gandalf.storage.usage_queries import UsageQueries
from gandalf.storage.usage_upkeep import UsageUpkeep
from gandalf.systemd import Systemd
from gandalf.telemetry import logs
from gandalf.telemetry.access_log import AccessLog
from gandalf.telemetry.loop_lag import LoopLag
from gandalf.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from gandalf.telemetry.tracing import Tracer

log = logging.getLogger("gandalf.app")


def main(config_path: Path) -> int:
    """Serve until told to stop; return the process's exit status.

    0 after an orderly end, 1 if it could not start or broke, 2 for a wrong
    configuration.
    """
    try:
        settings = config.load(config_path, os.environ)
    except config.ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there is no log yet
        return 2
    written = logs.configure(settings.telemetry.logging)
    forbid_core_dumps()
    status = 0
    _spare_the_collector()
    try:
        trio.run(_run, settings, config_path, os.environ, written)
    except* (NoKey, StorageError, OSError, config.ConfigError) as group:
        for reason in _leaves(group):
            log.error("cannot go on: %s", reason)
        status = 1
    except* Exception:
        log.exception("the gateway broke")
        status = 1
    log.info("stopped")
    return status


def _spare_the_collector() -> None:
    """Look for cyclic garbage seldom, and not among what is there for good.

    A request makes hardly any; by default its other objects would have all of them
    searched every few requests: a tenth of the time, and pauses of 50 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _run(
    settings: config.Config, path: Path, environ: Mapping[str, str], written: logs.Log
) -> None:
    log.info("gandalf %s starts", __version__)
    database = Database(config.database_path(path, settings.database.dsn))
    await database.open()
    try:
        keys = KeyStore(database)
        if (key := await ensure_key(settings, keys)) is not None:
            print(announcement(key, settings), flush=True)  # noqa: T201 - shown once
        managed = await ManagedStore(database).load()
        merged, faults = without_faults(
            lambda objects: load_merged(path, environ, objects), managed.objects
        )
        for fault in faults:
            log.error("managed objects are not in force: %s", fault)
        gateway = _Gateway(
            merged.config,
            path,
            environ,
            database,
            keys,
            written,
            managed=managed,
            merged=merged,
        )
        gateway.metrics.watch_queue(
            "log", lambda: written.writer.waiting_bytes, lambda: written.writer.dropped
        )
        await gateway.run()
    finally:
        database.close()


class _Gateway:
    """All parts of one process, and how they hang together."""

    def __init__(
        self,
        settings: config.Config,
        path: Path,
        environ: Mapping[str, str],
        database: Database,
        key_store: KeyStore,
        written: logs.Log | None = None,
        *,
        managed: Managed | None = None,
        merged: Merged | None = None,
    ) -> None:
        self.settings = settings
        self.path = path
        self.environ = environ
        self.database = database
        self.key_store = key_store
        self.metrics = metrics = Metrics()
        self.counters = Counters()
        self.drained = False
        """Whether an administrator has asked for no more requests (``/drain``)."""
        self.systemd = Systemd(environ)

        # ``trio.current_time`` would look up this clock for each reading.
        clock = trio.lowlevel.current_clock().current_time

        # Who owns what.
        self.credentials = Credentials()
        self.routes = routes = RouteTable(
            make_snapshot(settings, keeper=self.credentials)
        )
        self.issuers = TokenIssuers(
            settings.auth.issuers, IssuerDocuments().fetch, TenantStore(database)
        )
        self.keys = KeyTable(key_store, settings, tokens=self.issuers)
        self.limiter = RateLimiter(clock)
        self.breakers = Breakers(settings.circuit_breaker, clock=clock)
        self.connector = Connector(self.breakers, routes)
        self.retry_budget = RetryBudget(settings.retries)
        self.cache = ResponseCache(settings.cache)
        self.watches = Watches()
        self.budget_store = BudgetStore(database)
        self.notifier = Notifier(
            lambda: routes.config().notifications.webhooks,
            WebhookClient().post,
            self.budget_store,
        )
        self.ledger = Ledger(
            config.budgets_of(settings),
            notify=self._threshold_reached,
            on_refusal=lambda budget: metrics.budget_refusals.add((budget.name,)),
        )
        directory = _journal_directory(settings, path, database.path)
        self.usage = UsageTable(database, str(directory.path.resolve()))
        self.usage.rules = self.ledger.rules
        self.journal = UsageJournal(
            directory,
            self.usage,
            flush_every=settings.usage.flush_every,
            on_tracked=self.ledger.track,
        )

        self.upkeep = LedgerUpkeep(self.ledger, self.budget_store, self.usage)

        self.objects = ObjectTable(ObjectStore(database))

        observers: list[Observer] = [metrics.observe]
        self._on_refused: OnRefused = not_reported
        if written is not None:
            access_log = AccessLog(written.write)
            observers.append(access_log.observe)
            self._on_refused = access_log.refused

        recording = RecordUsage(
            self.journal, observers, ledger=self.ledger, clock=clock
        )
        # Of every answer the record is in its file before the last byte leaves.
        outbox().do_first(recording.flush)

        # A request's way.
        self.tracing, begin_trace = _tracing(settings, routes)
        pipeline = Pipeline(
            [
                recording,
                *begin_trace,
                Authenticate(self.keys),
                DecodeBody(routes.config),
                Authorize(),
                ReadCall(),
                AuthorizeModel(),
                RateLimit(self.limiter, routes.config),
                CacheLookup(self.cache, routes),
                SelectTargets(routes, Random()),  # noqa: S311 - spreads load
                Locate(self.objects, routes),
                Reserve(self.ledger, self.journal.open, routes),
                Dispatch(
                    routes,
                    self.breakers,
                    self.retry_budget,
                    routes.config,
                    self.watches,
                    self.connector,
                ),
            ]
        )
        self.gateway = Gateway(pipeline)
        self._show_gauges()

        def read(objects: Sequence[ManagedObject]) -> Merged:
            return load_merged(path, environ, objects)

        # The pages.
        self.usage_queries = UsageQueries(database)
        self.usage_keeper = UsageKeeper(
            UsageUpkeep(database), lambda: routes.config().usage
        )
        self.records = RequestRecords(database)
        self.system_pages = SystemPages(
            keys=self.keys, health=self, metrics=metrics, current=routes.config
        )
        self.model_views = ModelViews(self.keys, routes)
        self.key_page = KeyPage(
            self.keys, self.limiter, self.ledger, routes.config, self.usage_queries
        )
        views = {**self.model_views.views, **self.key_page.views}
        self.front = Front(self.system_pages, views, self.application, self._on_refused)

        self.config = ConfigManager(
            read,
            ManagedStore(database),
            StateStore(database),
            routes,
            (
                self.keys.replace_config_keys,
                lambda new: self.issuers.configure(new.auth.issuers),
                lambda new: self.breakers.configure(new.circuit_breaker),
                lambda new: self.retry_budget.configure(new.retries),
                lambda new: self.cache.configure(new.cache),
                self._replace_budgets,
                lambda _: self.breakers.keep_only(routes.target_names()),
                lambda _: self.credentials.keep_only(credentials_of(routes.current)),
            ),
            self.credentials,
            managed=managed,
            merged=merged,
        )

    async def run(self) -> None:
        """Start the actors, serve, and stop everything in the reverse order."""
        await self.keys.load()
        await self._load_ledger()
        actors: tuple[Actor, ...] = (
            self.systemd,
            LoopLag(self.metrics),
            self.keys,
            self.issuers,
            self.notifier,
            self.journal,
            self.upkeep,
            self.objects,
            self.usage_keeper,
            self.watches,
            self.connector,
            self.credentials,
            IdleCloser(self.routes),
            self.config,
            *self.tracing,
        )
        async with supervise(*actors), self._signals() as stop:
            async with trio.open_nursery() as nursery:
                urls = await nursery.start(self._serve, stop)
                log.info("ready on %s", " ".join(urls))
                self.systemd.ready(f"serving {' '.join(urls)}")
        for upstream in self.routes.current.upstreams.values():
            upstream.close()

    async def _load_ledger(self) -> None:
        """Account for what an earlier run has left, and load what is spent."""
        await self.journal.replay()
        prices = self.routes.current.prices
        crashed = await self.usage.settle_crashed(partial(cost_after_crash, prices))
        if crashed:
            log.warning("%d request(s) were in flight at a crash", crashed)
        await self.upkeep.load()
        balances = await self.usage.balances()
        self.ledger.load(balances, await self.budget_store.told())

    def _threshold_reached(self, crossing: Crossing) -> None:
        labels = (crossing.budget.name, str(crossing.threshold))
        self.metrics.budget_thresholds.add(labels)
        self.notifier.post(crossing)

    def _show_gauges(self) -> None:
        """Let the metrics page read what its owners know."""
        metrics, journal = self.metrics, self.journal
        metrics.active_requests.watch(lambda: len(self.gateway.in_flight))
        metrics.open_connections.watch(lambda: self.counters.open_connections)
        metrics.config_version.watch(lambda: self.routes.current.version)
        metrics.watch_breakers(
            lambda: [(h.target, h.state) for h in self.breakers.statistics()]
        )
        metrics.watch_credentials(
            lambda: [
                (each.name, each.expires_in, each.failures)
                for each in self.credentials.health()
            ]
        )
        metrics.reservations.watch(lambda: self.ledger.statistics().reservations)
        metrics.expired_reservations.watch(lambda: self.ledger.statistics().expired)
        metrics.ledger_drift.watch(lambda: self.upkeep.drift)
        metrics.watch_queue(
            "notices", lambda: self.notifier.waiting, lambda: self.notifier.shed
        )
        metrics.watch_queue("usage_journal_bytes", lambda: journal.backlog_bytes)
        metrics.watch_queue("objects", lambda: self.objects.waiting)
        metrics.watch_queue("attempts", lambda: len(self.watches))
        metrics.watch_queue("captured_bytes", lambda: self.cache.captured_bytes)
        metrics.watch_queue("limited_keys", self.limiter.key_count)
        metrics.watch_queue(
            "response_cache_bytes", lambda: self.cache.stats().size_bytes
        )
        for tracer in self.tracing:
            metrics.watch_queue(
                "spans",
                partial(getattr, tracer, "waiting"),
                partial(getattr, tracer, "dropped"),
            )

    def _replace_budgets(self, settings: config.Config) -> None:
        self.ledger.configure(config.budgets_of(settings))
        self.usage.rules = self.ledger.rules

    async def _serve(
        self,
        stop: trio.Event,
        task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await serve(
            self.front,
            self.gateway,
            self.settings.server,
            shutdown_trigger=stop.wait,
            counters=self.counters,
            on_refused=self._on_refused,
            task_status=task_status,
        )

    def application(self) -> Any:  # noqa: ANN401 - a QuartTrio, but to name it loads it
        """Return the application that declares every endpoint. Takes a while."""
        from gandalf.http.application import Application

        return Application(
            self.gateway,
            system=self.system_pages,
            models=self.model_views,
            key_page=self.key_page,
            keys=self.keys,
            admin=self.admin(),
            current=self.routes.config,
            on_refused=self._on_refused,
        ).build()

    def admin(self) -> Any:  # noqa: ANN401 - an AdminViews, but to name it loads it
        """Return the admin API."""
        from gandalf.http.admin.api import Parts, endpoints
        from gandalf.http.admin.secrets import Secrets
        from gandalf.http.admin.views import AdminViews

        trail = AuditLog(self.database)
        parts = Parts(
            config=self.config,
            state=self.config,
            current=self.routes.config,
            version=lambda: self.routes.current.version,
            config_path=str(self.path),
            keys=self.key_store,
            tenants=TenantStore(self.database),
            refresh_keys=self.keys.refresh,
            cut=self.gateway.cut,
            records=self.records,
            search=RequestSearch(self.database),
            usage=self.usage_queries,
            trail=trail,
            append_audit=trail.append,
            runtime=self,
            secrets=Secrets(master_keys(self.environ), self.environ),
            known_keys=self.keys,
            raises=self.budget_store,
            load_raises=self.upkeep.load,
            breakers=self.breakers,
            limiter=self.limiter,
            ledger=self.ledger,
            journal=self.journal,
            routes=self.routes,
        )
        return AdminViews(endpoints(parts), trail.append)

    # What the admin API asks of the running gateway.

    def purge_cache(self, *, alias: str | None, org_id: str | None) -> int:
        """Forget cached answers of an alias and to an organisation; None: any."""
        return self.cache.purge(alias=alias, org_id=org_id)

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        return len(self.gateway.in_flight)

    @property
    def reload_error(self) -> str:
        """Why the last reload was refused."""
        return self.config.last_error

    # Whether requests should be sent here.

    @property
    def ready(self) -> bool:
        return not (self.gateway.draining or self.drained)

    @property
    def degraded(self) -> str:
        parts = [
            ("keys", self.keys.degraded),
            ("issuers", self.issuers.degraded),
            ("usage", self.journal.degraded),
            ("objects", self.objects.degraded),
        ]
        return " ".join(name for name, degraded in parts if degraded)

    # Signals.

    @asynccontextmanager
    async def _signals(self) -> AsyncIterator[trio.Event]:
        """Set the event that is yielded on the first SIGTERM or SIGINT."""
        stop = trio.Event()
        wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        with trio.open_signal_receiver(*wanted) as received:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, received, stop)
                yield stop
                nursery.cancel_scope.cancel()

    async def _obey(self, received: AsyncIterator[int], stop: trio.Event) -> None:
        async for number in received:
            if number == signal.SIGHUP:
                await self.reload()
            elif not stop.is_set():
                name = signal.Signals(number).name
                log.info("%s: stopping; once more to stop at once", name)
                self.gateway.draining = True
                self.systemd.stopping("finishing what runs")
                stop.set()
            else:
                log.warning("stopped at once; what ran is recorded at the next start")
                logging.shutdown()
                os._exit(1)

    async def reload(self) -> bool:
        """Read the configuration file again; return whether it is in force."""
        self.systemd.reloading()
        accepted = await self.config.reload()
        self.metrics.config_reloaded(accepted=accepted)
        self.systemd.ready("serving" if accepted else "serving, with the old settings")
        return accepted


def _tracing(
    settings: config.Config, routes: RouteTable
) -> tuple[tuple[Tracer, ...], tuple[Stage, ...]]:
    """Return the actor that sends spans and the stage that begins them, or neither."""
    if not settings.telemetry.tracing.enabled:
        return (), ()
    # Imported here: OpenTelemetry takes half a second, and most have no use for it.
    from gandalf.telemetry.tracing import Tracer

    tracer = Tracer(settings.telemetry.tracing)
    return (tracer,), (Trace(tracer, routes.config),)


def _journal_directory(
    settings: config.Config, config_path: Path, database_path: Path
) -> JournalDirectory:
    path = settings.usage.journal_dir
    path = str(config_path.parent / path) if path else f"{database_path}.journal"
    return JournalDirectory(path, settings.usage.segment_bytes)


def _leaves(error: BaseException) -> list[BaseException]:
    """Return the exceptions that ``error`` is a group of, or itself if it is none."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in _leaves(part)]
