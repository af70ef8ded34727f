"""Tells people of budgets: log line, metric and webhooks for each threshold reached.

A threshold is told of once in a window. It counts as told once every webhook has taken
it or has failed for good; until then a restart tells of it again, with the same id.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec
import trio

from gandalf.actors.accounts import Crossing
from gandalf.config import Webhook
from gandalf.domain.budgets import Told, Unit, format_amount, usd
from gandalf.domain.windows import FOREVER
from gandalf.storage.errors import StorageError

log = logging.getLogger("gandalf.budgets")

MAILBOX_SIZE = 1000
"""Notices that may wait. More are shed and counted; a restart tells of them."""

ATTEMPTS = 6
FIRST_PAUSE = 1.0
"""Seconds before a webhook is tried again; each further pause is twice as long."""

SIGNATURE = "x-gandalf-signature"
"""``t=<Unix time>,v1=<HMAC-SHA256 of "<Unix time>.<body>", in hex>``."""

Post = Callable[[Webhook, bytes, dict[str, str]], Awaitable[bool]]
"""Sends a body to a webhook once; tells whether it was taken."""


class Store(Protocol):
    """Remembers what was told. Implemented by ``gandalf.storage.budgets``."""

    async def note_told(self, told: Told) -> None: ...


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook gets, as JSON."""

    type: str
    """``budget.threshold``."""
    id: str
    """The same whenever the same threshold of the same window is told of."""
    budget: str
    scope: str
    subject: str
    """The key, user, team, ...; empty for the global scope."""
    threshold: int
    """Percent of the limit that is spent, or that a request was refused at."""
    hard: bool
    """Whether requests are refused that do not fit."""
    unit: str
    limit: str
    """In ``unit``; USD with decimals."""
    spent: str
    reserved: str
    window_start: str | None
    """ISO 8601. Null for a lifetime."""
    window_end: str | None
    at: str


class Notifier:
    """Owns the mailbox of notices.

    Args:
        webhooks: Returns the configured webhooks.
        post: Sends to one.
        store: Remembers what was told.
        unix_time: The time, in seconds.
    """

    name = "notifier"

    def __init__(
        self,
        webhooks: Callable[[], Sequence[Webhook]],
        post: Post,
        store: Store,
        *,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._webhooks = webhooks
        self._post = post
        self._store = store
        self._unix_time = unix_time
        self._outbox, self._inbox = trio.open_memory_channel[tuple[Told, Notice]](
            MAILBOX_SIZE
        )
        self.shed = 0
        """Notices that the mailbox had no room for."""
        self.failed = 0
        """Deliveries that a webhook did not take."""
        self.reached: Counter[tuple[str, int]] = Counter()
        """Thresholds reached, by budget and percent."""

    @property
    def waiting(self) -> int:
        """Notices in the mailbox."""
        return self._inbox.statistics().current_buffer_used

    def post(self, crossing: Crossing) -> None:
        """Tell of a threshold that was reached. Never waits."""
        account, budget, threshold = crossing
        unit = budget.rule.unit
        self.reached[budget.name, threshold] += 1
        log.warning(
            "budget %s of %s has reached %d %%: %s of %s spent",
            budget.name,
            account.subject or "everything",
            threshold,
            format_amount(account.spent, unit),
            format_amount(account.limit(budget), unit),
        )
        told = Told(budget.name, account.subject, threshold, account.current.start)
        try:
            self._outbox.send_nowait((told, self._notice(crossing, told)))
        except (trio.WouldBlock, trio.ClosedResourceError):
            self.shed += 1

    async def run(self) -> None:
        """Deliver notices until closed and none is left."""
        async for told, notice in self._inbox:
            await self._deliver(notice)
            try:
                await self._store.note_told(told)
            except StorageError as error:
                log.warning("a notice may be told again after a restart: %s", error)

    def close(self) -> None:
        """Take no more notices. ``run`` returns once those there are delivered."""
        self._outbox.close()

    async def _deliver(self, notice: Notice) -> None:
        body = msgspec.json.encode(notice)
        async with trio.open_nursery() as nursery:
            for webhook in self._webhooks():
                nursery.start_soon(self._deliver_to, webhook, notice, body)

    async def _deliver_to(self, webhook: Webhook, notice: Notice, body: bytes) -> None:
        pause = FIRST_PAUSE
        for attempt in range(ATTEMPTS):
            if attempt:
                await trio.sleep(pause)
                pause *= 2
            headers = {
                "content-type": "application/json",
                "x-gandalf-delivery": notice.id,
            }
            if webhook.secret is not None:
                now = int(self._unix_time())
                headers[SIGNATURE] = sign(webhook.secret.reveal(), body, now)
            if await self._post(webhook, body, headers):
                return
        self.failed += 1
        log.error("webhook did not take notice %s", notice.id)

    def _notice(self, crossing: Crossing, told: Told) -> Notice:
        account, budget, threshold = crossing
        unit = budget.rule.unit
        forever = account.end == FOREVER
        local = account.period.local_time
        return Notice(
            type="budget.threshold",
            id=hashlib.sha256(repr(tuple(told)).encode()).hexdigest()[:32],
            budget=budget.name,
            scope=budget.rule.scope.value,
            subject=account.subject,
            threshold=threshold,
            hard=budget.hard,
            unit=unit.value,
            limit=_number(account.limit(budget), unit),
            spent=_number(account.spent, unit),
            reserved=_number(account.reserved, unit),
            window_start=None if forever else local(account.current.start),
            window_end=None if forever else local(account.end),
            at=datetime.fromtimestamp(self._unix_time(), UTC).isoformat(),
        )


def sign(secret: str, body: bytes, now: int) -> str:
    """Return the signature of ``body`` at the Unix time ``now``."""
    signed = b"%d.%b" % (now, body)
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def _number(amount: int, unit: Unit) -> str:
    return usd(amount) if unit is Unit.USD else str(amount)
