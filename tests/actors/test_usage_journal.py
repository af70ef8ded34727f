import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import pytest
import trio

from gandalf.actors.supervisor import supervise
from gandalf.actors.usage_journal import MAX_PAUSE, UsageJournal
from gandalf.domain.errors import JournalFull, ShuttingDown
from gandalf.storage import journal as files
from gandalf.storage.database import Database
from gandalf.storage.errors import JournalInUse, StorageError
from gandalf.storage.journal import MAX_RECORD_BYTES, JournalDirectory, Segment
from gandalf.storage.usage import Ingested, UsageTable
from tests.storage.builders import (
    SEGMENT_BYTES,
    a_record,
    a_segment,
    an_attempt,
    ids,
    records_of,
    some_records,
)

RECORDS_A_SEGMENT = SEGMENT_BYTES // MAX_RECORD_BYTES


class Directory(JournalDirectory):
    """Works on the loop instead of in threads, so that the test's clock can jump.

    ``left`` is how many more segments fit on the disk.
    """

    left = 1_000_000

    def __init__(self, path, segment_bytes=SEGMENT_BYTES):
        super().__init__(path, segment_bytes)
        self.allocated = 0
        self.synced = []

    def allocate(self):
        if self.left == 0:
            raise StorageError("No space left on device")
        self.left -= 1
        self.allocated += 1
        return super().allocate()

    async def allocate_ahead(self):
        await trio.lowlevel.checkpoint()
        return self.allocate()

    async def sync(self, segments):
        await trio.lowlevel.checkpoint()
        for segment in segments:
            self.synced.append((segment.path.name, segment.written))
            segment.synced = segment.written

    async def delete(self, segments):
        await trio.lowlevel.checkpoint()
        self.delete_now(segments)


class Store:
    """Takes what it is given, or fails as it is told to."""

    def __init__(self, load_time=0.0):
        self.load_time = load_time
        self.failure = None
        self.records = []
        self.loads = []
        """When it was asked."""

    async def track(self):
        await trio.lowlevel.checkpoint()

    async def ingest(self, span):
        self.loads.append(trio.current_time())
        await trio.sleep(self.load_time)
        if self.failure is not None:
            raise self.failure
        batch = files.read(span)
        self.records += records_of(batch.entries)
        return Ingested(batch.end, len(batch.entries), batch.corrupt)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def directory(folder):
    directory = Directory(folder)
    yield directory
    directory.close()


@pytest.fixture
async def journal(directory, store):
    """Opened, not running."""
    return UsageJournal(directory, store, flush_every=1.0)


@pytest.fixture
async def running(journal):
    async with supervise(journal):
        yield journal


def finish(journal, *records):
    """What a request does, from its beginning to its end."""
    for record in records:
        journal.reserve()
        journal.write(record)
        journal.flush()


def segments_in(folder):
    return sorted(folder.glob("*.journal"))


# Writing.


async def test_what_is_flushed_together_is_in_the_file_in_order(journal, folder):
    records = [a_record(f"r{n}") for n in range(5)]
    for record in records:
        journal.reserve()
        journal.write(record)
    segment = segments_in(folder)[0]
    before = segment.read_bytes().rstrip(b"\0")
    journal.flush()

    assert before == b""
    assert segment.read_bytes().rstrip(b"\0") == b"".join(map(files.encode, records))
    assert journal.in_flight == 0


# Loading.


async def test_records_are_loaded_after_flush_every(running, store, autojump_clock):
    await trio.sleep(0.5)
    finish(running, *some_records(3))

    await trio.sleep(0.4)
    assert store.records == []
    await trio.sleep(0.2)
    assert store.records == some_records(3)


async def test_there_is_one_load_every_flush_every(journal, autojump_clock):
    journal._store = store = Store(load_time=0.3)
    async with supervise(journal):
        for n in range(100):
            await trio.sleep(0.1)
            finish(journal, a_record(f"r{n}"))

    assert len(store.loads) <= 10 / 1.3 + 2
    assert ids(store.records) == [f"r{n}" for n in range(100)]


async def test_nothing_is_asked_of_the_store_while_there_is_nothing(
    running, store, autojump_clock
):
    await trio.sleep(100)

    assert store.loads == []


async def test_records_written_during_a_load_are_loaded_once(journal, autojump_clock):
    journal._store = store = Store(load_time=0.7)
    dice = random.Random(7)
    expected = []
    async with supervise(journal):
        for n in range(500):
            await trio.sleep(dice.random() / 20)
            expected.append(a_record(f"r{n}"))
            finish(journal, expected[-1])

    assert store.records == expected


async def test_full_segments_are_deleted_once_they_are_loaded(
    running, store, folder, autojump_clock
):
    records = some_records(2000)
    finish(running, *records)
    assert len(segments_in(folder)) > 5

    await trio.sleep(2)
    assert store.records == records
    assert len(segments_in(folder)) <= 3
    assert running.backlog_bytes == 0


async def test_a_long_backlog_does_not_keep_room_from_being_made(
    journal, directory, autojump_clock
):
    journal._store = store = Store(load_time=10.0)
    async with supervise(journal, grace=1e6):
        finish(journal, *some_records(500))
        await trio.sleep(15)  # the second of several segments is being loaded
        directory.left = 0
        with suppress(JournalFull):
            finish(journal, *some_records(500, "more"))
        directory.left = 1_000_000
        await trio.sleep(10)
        assert len(store.loads) == 3

        directory.left = 0
        for record in some_records(RECORDS_A_SEGMENT, "late"):
            finish(journal, record)


async def test_closing_loads_the_rest_and_leaves_nothing_on_the_disk(
    journal, store, folder, autojump_clock
):
    async with supervise(journal):
        finish(journal, *some_records(300))

    assert store.records == some_records(300)
    assert segments_in(folder) == []


async def test_a_request_that_ends_after_closing_is_loaded_too(
    journal, store, autojump_clock
):
    journal.reserve()
    async with supervise(journal):
        journal.close()
        journal.write(a_record("late"))
        journal.flush()

    assert ids(store.records) == ["late"]


async def test_a_request_that_ends_after_the_journal_is_there_at_the_next_start(
    journal, store, folder, autojump_clock
):
    journal.reserve()
    async with supervise(journal):
        pass
    journal.write(a_record("late"))
    journal.flush()
    journal._directory.close()  # as the end of the process does

    async with supervise(UsageJournal(Directory(folder), store)):
        pass
    assert ids(store.records) == ["late"]


async def test_a_closed_journal_admits_nothing(journal, autojump_clock):
    async with supervise(journal):
        journal.close()
        journal.close()
        with pytest.raises(ShuttingDown):
            journal.reserve()


async def test_what_a_store_does_not_take_in_time_is_there_at_the_next_start(
    journal, store, folder, autojump_clock
):
    store.failure = StorageError("locked")
    async with supervise(journal, grace=10.0):
        finish(journal, *some_records(300))

    assert store.records == []
    assert sum(path.stat().st_size for path in segments_in(folder)) == (
        journal.backlog_bytes
    )  # what was not written is given back

    store.failure = None
    async with supervise(UsageJournal(Directory(folder), store)):
        pass
    assert store.records == some_records(300)
    assert segments_in(folder) == []


async def test_what_an_earlier_run_left_is_loaded_at_once_and_deleted(
    folder, store, autojump_clock
):
    folder.mkdir()
    left = a_segment(folder, some_records(10))  # not closed: as a kill leaves it
    (folder / "0000000000000000.journal").touch()  # killed before it was allocated
    journal = UsageJournal(Directory(folder), store, flush_every=1.0)
    assert journal.backlog_bytes == SEGMENT_BYTES

    async with supervise(journal):
        await trio.sleep(0.1)
        assert store.records == some_records(10)
        assert not left.path.exists()
        assert journal.corrupt == 0
        assert journal.backlog_bytes == 0
        assert journal.loaded == 10


async def test_damage_is_counted_and_does_no_more_damage(
    folder, store, autojump_clock, caplog
):
    folder.mkdir()
    segment = a_segment(folder, some_records(2))
    with segment.path.open("r+b") as file:
        file.seek(20)
        file.write(b"?")
    journal = UsageJournal(Directory(folder), store)

    async with supervise(journal):
        pass
    assert ids(store.records) == ["r1"]
    assert journal.corrupt == 1
    assert len(caplog.records) == 1


async def test_a_segment_that_cannot_be_read_does_not_hold_up_the_others(
    folder, store, autojump_clock, caplog
):
    folder.mkdir()
    first = a_segment(folder, some_records(1))
    journal = UsageJournal(Directory(folder), store)
    first.path.unlink()

    async with supervise(journal):
        finish(journal, a_record("next"))
    assert ids(store.records) == ["next"]
    assert str(first.path) in caplog.text


async def test_a_second_instance_is_refused(journal, folder, store, autojump_clock):
    with pytest.raises(JournalInUse):
        UsageJournal(JournalDirectory(folder, SEGMENT_BYTES), store)


# The store is away.


async def test_a_store_that_is_away_costs_no_request_and_no_record(
    running, store, autojump_clock
):
    store.failure = StorageError("database: locked")
    records = some_records(5000)

    for record in records:
        finish(running, record)
        await trio.sleep(0.1)
    assert running.degraded
    assert running.last_error == "database: locked"
    assert running.backlog_bytes == sum(len(files.encode(r)) for r in records)

    store.failure = None
    await trio.sleep(MAX_PAUSE)
    assert not running.degraded
    assert store.records == records
    assert running.backlog_bytes == 0


async def test_a_store_that_is_away_is_asked_again_at_growing_intervals(
    running, store, autojump_clock
):
    store.failure = StorageError("locked")
    finish(running, a_record())

    await trio.sleep(20)

    pauses = [b - a for a, b in zip(store.loads, store.loads[1:], strict=False)]
    assert pauses[:2] == [2.0, MAX_PAUSE]
    assert set(pauses[1:]) == {MAX_PAUSE}


async def test_while_the_store_is_away_the_journal_itself_is_forced_to_the_disk(
    running, store, directory, autojump_clock
):
    store.failure = StorageError("locked")
    finish(running, a_record())
    await trio.sleep(20)

    [(_, size)] = directory.synced
    assert size == len(files.encode(a_record()))


async def test_the_log_tells_of_the_change_and_not_of_each_try(
    running, store, caplog, autojump_clock
):
    for failure in (StorageError("locked"), None):
        store.failure = failure
        for _ in range(20):
            finish(running, a_record())
            await trio.sleep(1)

    assert caplog.messages == [
        "usage records stay in the journal for now: locked",
        "the database takes usage records again",
    ]


async def test_a_bug_in_loading_costs_no_record_and_is_told_in_full(
    running, store, caplog, autojump_clock
):
    store.failure = KeyError("a bug")
    finish(running, *some_records(3))
    await trio.sleep(20)
    assert running.degraded
    assert "KeyError" in caplog.text

    store.failure = None
    await trio.sleep(MAX_PAUSE)
    assert store.records == some_records(3)


# Room.


async def test_room_is_made_before_it_is_needed(running, directory, autojump_clock):
    await trio.sleep(0.1)
    allocated = directory.allocated
    directory.left = 0

    for _ in range(RECORDS_A_SEGMENT):
        running.reserve()

    assert directory.allocated == allocated
    for record in some_records(RECORDS_A_SEGMENT):
        running.write(record)
        running.flush()


async def test_a_burst_makes_room_for_itself(running, autojump_clock):
    requests = 20 * RECORDS_A_SEGMENT
    for _ in range(requests):
        running.reserve()

    assert running.in_flight == requests
    for record in some_records(requests):
        running.write(record)
        running.flush()
    assert running.in_flight == 0


async def test_a_full_disk_refuses_requests_and_keeps_every_record(
    running, directory, store, caplog, autojump_clock
):
    directory.left = 3
    admitted = refused = 0
    answers = set()
    for _ in range(100 * RECORDS_A_SEGMENT):
        try:
            running.reserve()
            admitted += 1
        except JournalFull as error:
            answers.add((error.status, error.code, error.retry_after))
            refused += 1
    assert admitted == 3 * RECORDS_A_SEGMENT
    assert running.refused == refused > 0
    assert answers == {(503, "journal_full", 5.0)}
    assert len(caplog.records) == 1

    long = tuple(an_attempt(reason="x" * 400) for _ in range(6))  # some 3.5 kB
    for n in range(admitted):
        running.write(a_record(f"r{n}", attempts=long))
        running.flush()
    await trio.sleep(5)
    assert ids(store.records) == [f"r{n}" for n in range(admitted)]


async def test_requests_are_admitted_again_once_there_is_room(
    running, directory, autojump_clock
):
    directory.left = 1
    await trio.sleep(0.1)
    for _ in range(RECORDS_A_SEGMENT):
        running.reserve()
    with pytest.raises(JournalFull):
        running.reserve()
    directory.left = 1

    await trio.sleep(2)
    running.reserve()
    for record in some_records(running.in_flight):
        running.write(record)
        running.flush()


async def test_room_that_was_not_used_is_there_again(
    running, directory, autojump_clock
):
    directory.left = 1
    for _ in range(10 * RECORDS_A_SEGMENT):
        running.reserve()
        running.release()

    assert running.in_flight == 0


@pytest.mark.parametrize("seed", range(10))
async def test_room_that_was_reserved_is_always_there(
    folder, store, seed, autojump_clock
):
    dice = random.Random(seed)
    directory = Directory(folder, dice.choice([1, 2, 3, 10]) * MAX_RECORD_BYTES + seed)
    directory.left = dice.randrange(1, 20)
    journal = UsageJournal(directory, store, clock=lambda: 0.0)
    written = []
    for n in range(2000):
        if journal.in_flight > len(journal._lines) and dice.random() < 0.5:
            reason = "x" * dice.choice([0, 10, 2000, 3000, 4500, 5000])
            written.append(a_record(f"r{n}", attempts=(an_attempt(reason=reason),)))
            journal.write(written[-1])
            if dice.random() < 0.5:
                journal.flush()
            assert not journal._refused_lines
            continue
        try:
            journal.reserve()
        except JournalFull:
            if not journal.in_flight:
                break
    journal.flush()
    for n in range(journal.in_flight):
        written.append(a_record(f"end{n}"))
        journal.write(written[-1])
    journal.flush()

    sizes = {path.stat().st_size for path in segments_in(folder)}
    assert sizes == {directory.segment_bytes}  # nothing was written past an end

    async with supervise(journal):
        pass
    assert ids(store.records) == ids(written)


class BrokenSegment(Segment):
    """Every write to it fails; a real disk's answer, from the kernel."""

    def __init__(self, path):
        super().__init__(path, SEGMENT_BYTES, file=os.open("/dev/full", os.O_WRONLY))

    def close(self):
        os.close(self._file)  # nothing to shorten
        self._file = -1


async def test_what_the_disk_refuses_is_kept_and_written_elsewhere(
    journal, folder, store, caplog, autojump_clock
):
    journal._open.appendleft(BrokenSegment(folder / "broken"))
    for _ in range(5):
        journal.reserve()

    for record in some_records(3):
        journal.write(record)
        journal.flush()
    with pytest.raises(JournalFull):
        journal.reserve()
    assert journal.in_flight == 5
    assert "No space left" in caplog.text

    async with supervise(journal):
        await trio.sleep(0.1)
        assert journal.in_flight == 2
        journal.reserve()
        journal.write(a_record("r3"))
        journal.flush()
        journal.release()
        journal.release()
    assert ids(store.records) == ["r0", "r1", "r2", "r3"]


# With a real database, in real time.


@asynccontextmanager
async def a_gateway(tmp_path, **options):
    database = Database(tmp_path / "gandalf.db", **options)
    await database.open()
    directory = JournalDirectory(tmp_path / "journal", SEGMENT_BYTES)
    journal = UsageJournal(directory, UsageTable(database), flush_every=0.01)
    try:
        async with supervise(journal):
            yield database, journal
    finally:
        database.close()


def ids_in(path):
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT id FROM requests ORDER BY id")
        return [request_id for (request_id,) in rows]


async def until(condition):
    with trio.fail_after(10):
        # Threads and SQLite have no event to wait for.
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.002)


async def test_a_locked_database_gets_every_record_once_it_is_free(tmp_path):
    async with a_gateway(tmp_path, busy_timeout=0.02) as (database, journal):
        finish(journal, *some_records(10))
        await until(lambda: journal.backlog_bytes == 0)
        with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            finish(journal, *some_records(500, "locked"))
            await until(lambda: journal.degraded)
            assert "locked" in journal.last_error
            finish(journal, *some_records(10, "later"))
            other.execute("ROLLBACK")
        await until(lambda: not journal.degraded and journal.backlog_bytes == 0)

    assert ids_in(database.path) == sorted(
        [
            *(f"r{n}" for n in range(10)),
            *(f"locked{n}" for n in range(500)),
            *(f"later{n}" for n in range(10)),
        ]
    )


async def test_a_database_that_goes_away_gets_every_record_once_it_is_back(tmp_path):
    async with a_gateway(tmp_path) as (database, journal):
        aside = tmp_path / "aside"
        database.path.rename(aside)
        finish(journal, *some_records(100))
        await until(lambda: journal.degraded)
        aside.rename(database.path)
        await until(lambda: not journal.degraded and journal.backlog_bytes == 0)

    assert ids_in(database.path) == sorted(f"r{n}" for n in range(100))


async def test_a_full_database_gets_every_record_once_there_is_room(tmp_path):
    async with a_gateway(tmp_path) as (database, journal):
        await database.write(
            lambda c: c.execute("PRAGMA max_page_count = 1").fetchone()
        )
        finish(journal, *some_records(1000))
        await until(lambda: journal.degraded)
        assert "full" in journal.last_error
        await database.write(
            lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchone()
        )
        await until(lambda: not journal.degraded and journal.backlog_bytes == 0)

    assert ids_in(database.path) == sorted(f"r{n}" for n in range(1000))


async def test_records_are_loaded_while_others_are_written(tmp_path):
    records = some_records(3000)
    async with a_gateway(tmp_path) as (database, journal):
        for record in records:
            finish(journal, record)
            await trio.lowlevel.checkpoint()

    assert ids_in(database.path) == sorted(ids(records))
    assert list((tmp_path / "journal").glob("*.journal")) == []


def kill_a_writer(folder, after):
    """Run a writer until it has answered ``after`` requests; return all it answered."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.actors.journal_writer", str(folder)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as writer:
        answered = [writer.stdout.readline() for _ in range(after)]
        writer.send_signal(signal.SIGKILL)
        answered += writer.stdout.readlines()
    assert writer.returncode == -signal.SIGKILL
    # The last one may be cut in the middle.
    return [line.decode().strip() for line in answered if line.endswith(b"\n")]


async def test_a_process_that_is_killed_loses_nothing_that_it_answered(tmp_path):
    answered = []
    for after in (1, 40, 1500, 300):  # each starts with what the last one left
        answered += kill_a_writer(tmp_path, after)

    async with a_gateway(tmp_path) as (database, journal):
        await until(lambda: journal.backlog_bytes == 0)

    found = ids_in(database.path)
    assert set(answered) <= set(found)
    # Killed between the record and the answer: at most one each.
    assert len(found) == len(set(found)) <= len(answered) + 4
