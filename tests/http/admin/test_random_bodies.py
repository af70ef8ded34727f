"""No request makes an endpoint fail: random bodies and queries are answered or refused.

The bodies are the examples of the table, changed at random; the generator is seeded, so
that a failure can be repeated.
"""

import copy
import json
import re
from itertools import product
from random import Random

import pytest

from gandalf.http.admin.api import described

TRIES = 25
STRANGE = [
    None,
    True,
    0,
    -1,
    1.5,
    1e308,
    10**12 + 1,
    2**63,
    10**40,
    "9999-12-31T23:59:59-12:00",
    "0001-01-01T00:00:00+14:00",
    "",
    "x" * 300,
    "\x00",
    "\ud7ff\uffff",
    "${HOME}",
    "' OR 1=1 --",
    "../..",
    [],
    [None],
    [[[[]]]],
    {},
    {"a": {"b": []}},
]
OBJECTS = ["none", "fast", "simulated", "simulated/m-1", "config:admin", "%00", "a%2Fb"]


def changed(chance, value):
    """Return ``value`` with one part of it replaced, removed or added."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = chance.choice(list(value))
        match chance.randrange(4):
            case 0:
                del value[name]
            case 1:
                value[chance.choice(["unknown", "id", "name", ""])] = strange(chance)
            case _:
                value[name] = changed(chance, value[name])
        return value
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        value[at] = changed(chance, value[at])
        return value
    return strange(chance)


def strange(chance):
    return copy.deepcopy(chance.choice(STRANGE))


def examples(row):
    fields = {}
    if row.body is not None and hasattr(row.body, "__struct_fields__"):
        fields = dict.fromkeys(row.body.__struct_fields__)
    return [row.example or {}, fields]


async def answer(admin, row, path, sent):
    response = await admin.call(row.method, path, sent)
    told = await response.get_data()
    assert response.status_code < 500, (row.operation_id, path, sent, told)
    if response.status_code >= 400:
        problem = json.loads(told)
        assert problem["detail"], (row.operation_id, path, sent)
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("section", sorted({row.section for row in described()}))
async def test_a_random_body_is_answered_or_refused(admin, section):
    for row in described():
        if row.section != section:
            continue
        chance = Random(row.operation_id)
        for _ in range(TRIES if row.body is not None else 3):
            name = chance.choice(OBJECTS)
            path = re.sub(r"\{\w+\}", name, row.path)
            sent = None
            if row.body is not None:
                sent = copy.deepcopy(chance.choice(examples(row)))
                for _ in range(chance.randrange(3)):
                    sent = changed(chance, sent)
            await answer(admin, row, path, sent)


@pytest.mark.parametrize(
    "row",
    [r for r in described() if hasattr(r.body, "__struct_fields__")],
    ids=lambda row: row.operation_id,
)
async def test_each_field_may_have_any_value_and_is_answered_or_refused(admin, row):
    for number, (name, value) in enumerate(
        product(row.body.__struct_fields__, STRANGE)
    ):
        sent = {**(row.example or {}), name: value}
        if "id" in sent and name != "id":
            sent["id"] = f"made-{number}"
        await answer(admin, row, re.sub(r"\{\w+\}", "none", row.path), sent)


QUERIES = [
    "",
    "x",
    "-1",
    "9" * 30,
    "1e400",
    "null",
    "%00",
    "%FF",
    "2026-01-01T00:00:00Z",
]


@pytest.mark.parametrize(
    "row", [r for r in described() if r.query], ids=lambda row: row.operation_id
)
async def test_a_random_query_is_answered_or_refused(admin, row):
    for name in (*row.query.__struct_fields__, "unknown"):
        for value in QUERIES:
            path = re.sub(r"\{\w+\}", "none", row.path)
            await answer(admin, row, f"{path}?{name}={value}", None)
