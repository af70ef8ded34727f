"""Each answer costs what a calculation by hand says, and so does docs/money.md."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gandalf.config import Config, Provider
from gandalf.dialects import anthropic, converse, openai
from gandalf.dialects.openai import passthrough_answers
from gandalf.dialects.openai.passthrough import Action, PassthroughCall
from gandalf.dialects.registry import DIALECTS
from gandalf.domain.routing import Target
from gandalf.pricing.amounts import usd
from gandalf.pricing.resolve import price_table

from .invoices import INVOICES

PAGE = Path(__file__).parent.parent.parent / "docs" / "money.md"
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| `([^`]+)` \| ([^|]+) \| ([0-9.]+) \|$", re.M)


def by_hand(lines):
    """Nano-USD, exactly: a number is USD for a million, a text is USD for one."""
    amounts = (
        Decimal(count)
        * (Decimal(price) if isinstance(price, str) else Decimal(str(price)) / 10**6)
        for count, price in lines
    )
    return sum(amounts) * 10**9


def shown(lines):
    """The calculation as the page has it."""
    parts = (
        f"{count:,} x {price}" + ("" if isinstance(price, str) else "/M")
        for count, price in lines
    )
    return " + ".join(parts)


def dialect_of(invoice):
    kind = invoice.provider["type"]
    return converse if kind == "bedrock" else DIALECTS.get(kind, openai)


def usage_of(invoice):
    """What the gateway reads of the answer."""
    dialect, body = dialect_of(invoice), invoice.body
    if isinstance(body, list):
        events = [json.dumps(event).encode() for event in body]
        if dialect is anthropic:
            framed = [
                b"event: %b\ndata: %b\n\n" % (e["type"].encode(), raw)
                for e, raw in zip(body, events, strict=True)
            ]
        else:
            framed = [b"data: %b\n\n" % event for event in (*events, b"[DONE]")]
        request = {"model": "m", "stream": True, "max_tokens": 9, "messages": []}
        request["messages"].append({"role": "user", "content": "hi"})
        call = dialect.read_call("chat", json.dumps(request).encode())
        stream = dialect.follow(call)
        for piece in framed:
            stream.feed(piece)
        return stream.usage
    raw = json.dumps(body).encode()
    if invoice.operation in ("chat", "embeddings"):
        return dialect.read_answer(invoice.operation, raw).usage
    looked_up = invoice.operation == "batches"
    call = PassthroughCall(
        operation=invoice.operation,
        model="" if looked_up else "m",
        body=b"",
        action=Action.RETRIEVE if looked_up else Action.CREATE,
        object_id="batch_1" if looked_up else "",
    )
    return passthrough_answers.read_answer(call, raw).usage


def cost_of(invoice):
    section = Provider(name="p", **invoice.provider)
    target = Target(provider="p", model=invoice.model)
    at = datetime.fromisoformat(invoice.at).replace(tzinfo=UTC).timestamp()
    table = price_table(Config(providers=(section,)), [target], now=at - 1)
    usage = usage_of(invoice)
    price = table[target.name]
    if usage.other is not None and usage.other.model:
        price = table.of_model("p", usage.other.model)
    return price.cost(usage, at)


@pytest.mark.parametrize("invoice", INVOICES, ids=lambda invoice: invoice.name)
def test_an_answer_costs_what_the_calculation_says_to_the_nano_dollar(invoice):
    assert cost_of(invoice) == by_hand(invoice.lines)


def test_the_page_shows_every_invoice_with_its_calculation_and_its_cost():
    rows = {name: rest for name, *rest in ROW.findall(PAGE.read_text())}

    assert rows == {
        invoice.name: [invoice.model, shown(invoice.lines), usd(cost_of(invoice))]
        for invoice in INVOICES
    }
