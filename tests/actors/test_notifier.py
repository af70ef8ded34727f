"""Notices of budgets: signed, retried, told once."""

import hashlib
import hmac
import json

import httpx
import pytest
import trio

from gandalf.actors.ledger import Ledger
from gandalf.actors.notifier import ATTEMPTS, MAILBOX_SIZE, Notifier
from gandalf.config import Webhook
from gandalf.domain.budgets import Told
from gandalf.domain.secret import Secret
from gandalf.http.webhooks import WebhookClient
from gandalf.storage.errors import StorageError
from tests.actors.test_ledger import NOON, a_budget, an_identity

from .clock import Clock

HOOK = Webhook(url="https://hooks.test/budgets", secret=Secret("s3cret"))


class Store:
    def __init__(self):
        self.told = []
        self.failure = None

    async def note_told(self, told):
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        self.told.append(told)


class Hooks:
    """Webhooks that answer as the test says, and what they got."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.requests = []
        self.at = []

    async def __call__(self, request):
        self.requests.append(request)
        self.at.append(trio.current_time())
        status = self.statuses.pop(0) if self.statuses else 200
        if isinstance(status, Exception):
            raise status
        return httpx.Response(status)


class Office:
    def __init__(self, hooks, *webhooks):
        self.store = Store()
        client = WebhookClient(httpx.MockTransport(hooks))
        self.notifier = Notifier(
            lambda: webhooks, client.post, self.store, unix_time=Clock(float(NOON))
        )
        self.ledger = Ledger(
            [a_budget(10**9, window="month", zone="Europe/Berlin")],
            notify=self.notifier.post,
            unix_time=Clock(float(NOON)),
        )

    def spend(self, cost, name="r"):
        accounts = self.ledger.accounts(an_identity(), "fast", (), ())
        self.ledger.reserve(name, accounts, cost, 0)
        self.ledger.settle(name, cost, 0)

    async def run(self):
        self.notifier.close()
        await self.notifier.run()


async def test_a_webhook_is_told_what_has_happened_and_by_whom(autojump_clock):
    hooks = Hooks()
    office = Office(hooks, HOOK)

    office.spend(600_000_000)
    await office.run()

    [request] = hooks.requests
    body = json.loads(request.content)
    assert body.pop("id") == request.headers["x-gandalf-delivery"]
    assert body == {
        "type": "budget.threshold",
        "budget": "b",
        "scope": "key",
        "subject": "k",
        "threshold": 50,
        "hard": True,
        "unit": "usd",
        "limit": "1.00",
        "spent": "0.60",
        "reserved": "0.00",
        "window_start": "2026-06-01T00:00:00+02:00",
        "window_end": "2026-07-01T00:00:00+02:00",
        "at": "2026-06-01T12:00:00+00:00",
    }
    signed = f"{NOON}.".encode() + request.content
    digest = hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
    assert request.headers["x-gandalf-signature"] == f"t={NOON},v1={digest}"
    assert [told[:3] for told in office.store.told] == [("b", "k", 50)]


async def test_a_webhook_that_fails_is_tried_again_after_growing_pauses(autojump_clock):
    hooks = Hooks(500, httpx.ConnectError("no"), 302)
    office = Office(hooks, HOOK)

    office.spend(600_000_000)
    await office.run()

    assert hooks.at == [0, 1, 3, 7]
    assert len({r.headers["x-gandalf-delivery"] for r in hooks.requests}) == 1
    assert (len(office.store.told), office.notifier.failed) == (1, 0)


async def test_a_webhook_that_never_takes_it_is_given_up(autojump_clock, caplog):
    hooks = Hooks(*[503] * 100)
    office = Office(hooks, HOOK, Webhook(url="https://other.test/"))

    office.spend(600_000_000)
    await office.run()

    assert len(hooks.requests) == 2 * ATTEMPTS
    assert office.notifier.failed == 2
    assert len(office.store.told) == 1
    assert "s3cret" not in caplog.text
    assert "hooks.test" not in caplog.text


async def test_a_webhook_that_hangs_is_given_up_in_time(autojump_clock):
    async def hang(request):
        await trio.sleep_forever()

    office = Office(hang, Webhook(url="https://hooks.test", timeout=5.0))

    office.spend(600_000_000)
    await office.run()

    assert trio.current_time() == ATTEMPTS * 5 + 1 + 2 + 4 + 8 + 16


async def test_what_has_no_room_is_shed_and_counted(autojump_clock):
    office = Office(Hooks(), HOOK)
    office.ledger.configure(
        [a_budget(1, str(n), thresholds=(100,)) for n in range(MAILBOX_SIZE + 3)]
    )

    office.spend(1)

    assert (office.notifier.waiting, office.notifier.shed) == (MAILBOX_SIZE, 3)


async def test_without_webhooks_it_is_noted_that_the_log_has_told(autojump_clock):
    office = Office(Hooks())

    office.spend(900_000_000)
    await office.run()

    assert [told.threshold for told in office.store.told] == [50, 80]
    assert isinstance(office.store.told[0], Told)


async def test_a_store_that_is_away_costs_a_repetition_only(autojump_clock, caplog):
    office = Office(Hooks(), HOOK)
    office.store.failure = StorageError("locked")

    office.spend(600_000_000)
    await office.run()

    assert "may be told again" in caplog.text


@pytest.mark.parametrize("unit", ["tokens", "requests"])
async def test_other_units_are_plain_numbers(autojump_clock, unit):
    hooks = Hooks()
    office = Office(hooks, HOOK)
    office.ledger.configure([a_budget(2, unit=unit, window="lifetime")])
    accounts = office.ledger.accounts(an_identity(), "fast", (), ())
    office.ledger.reserve("r", accounts, 0, 1)
    office.ledger.settle("r", 0, 1)
    await office.run()

    body = json.loads(hooks.requests[0].content)
    assert (body["limit"], body["spent"], body["window_end"]) == ("2", "1", None)
