import msgspec
import pytest

from gandalf.domain.ids import first_at
from gandalf.storage import rerating
from gandalf.storage.database import Database
from gandalf.storage.requests import RequestRecords
from gandalf.storage.rerating import rerate
from gandalf.storage.usage import insert

from .builders import a_record, entries_of


@pytest.fixture
async def database(tmp_path):
    database = Database(tmp_path / "gandalf.db")
    await database.open()
    yield database
    database.close()


def doubled(record):
    cost = record.cost_nanousd
    return msgspec.structs.replace(
        record, cost_nanousd=None if cost is None else 2 * cost
    )


async def kept(database, *records):
    await database.write(lambda connection: insert(connection, entries_of(records)))


async def costs(database):
    rows = await RequestRecords(database).latest(100)
    return {row["request_id"]: row["cost_nanousd"] for row in rows}


async def test_the_difference_is_shown_and_nothing_is_changed(database):
    await kept(
        database,
        a_record("r1", cost_nanousd=5),
        a_record("r2", cost_nanousd=None),
        a_record("r3", cost_nanousd=1, provider="a", model="m"),
    )

    other, eu = await rerate(database, 0, doubled, apply=False)

    assert (other.target, eu.target) == ("a/m", "openai-eu/gpt-4o")
    assert (eu.rows, eu.changed) == (2, 1)
    assert (eu.before_nanousd, eu.after_nanousd) == (5, 10)
    assert (eu.unknown_before, eu.unknown_after) == (1, 1)
    assert await costs(database) == {"r1": 5, "r2": None, "r3": 1}


async def test_the_new_costs_are_kept_if_that_is_wanted(database):
    before = a_record("r1", cost_nanousd=5)
    await kept(database, before)

    await rerate(database, 0, doubled, apply=True)

    row = await RequestRecords(database).find("r1")
    assert row["cost_nanousd"] == 10
    assert row["input_tokens"] == before.tokens.input


@pytest.mark.parametrize("count", [1, 7, 8, 9, 24])
async def test_any_number_of_records_is_gone_through_once(database, monkeypatch, count):
    monkeypatch.setattr(rerating, "BATCH_ROWS", 8)
    records = [a_record(f"r{n:03}", cost_nanousd=1) for n in range(count)]
    await kept(database, *records)

    [found] = await rerate(database, 0, doubled, apply=True)

    assert (found.rows, found.after_nanousd) == (count, 2 * count)
    assert set((await costs(database)).values()) == {2}


async def test_what_is_older_is_left_alone(database):
    old, new = f"{first_at(1_000_000_000)}-7", f"{first_at(1_000_001_000)}-7"
    await kept(database, a_record(old, cost_nanousd=1), a_record(new, cost_nanousd=1))

    await rerate(database, 1_000_000.5, doubled, apply=True)

    assert await costs(database) == {old: 1, new: 2}
