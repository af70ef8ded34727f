import os
import random

import msgspec
import pytest

from gandalf.storage import journal
from gandalf.storage.errors import JournalInUse, JournalUnreadable, StorageError
from gandalf.storage.journal import MAX_RECORD_BYTES, JournalDirectory, encode
from tests.storage.builders import (
    SEGMENT_BYTES,
    a_record,
    a_segment,
    an_attempt,
    file_size_limit,
    ids,
    read_all,
    records_of,
    some_records,
)


def decoded(line):
    [record] = records_of(journal.parse(line)[0])
    return record


# Lines.


def test_what_is_written_is_read(tmp_path):
    records = some_records(100)

    assert read_all(a_segment(tmp_path, records)).records == records


def test_a_line_is_one_line_whatever_is_in_it():
    line = encode(a_record(alias="a\nb\0c\r\u2028\U0001f600"))

    assert line.count(b"\n") == 1
    assert b"\0" not in line
    assert decoded(line).alias == "a\nb\0c\r\u2028\U0001f600"


def test_an_ordinary_record_is_kept_as_it_is():
    record = a_record(attempts=tuple(an_attempt(reason="x" * 200) for _ in range(5)))

    assert decoded(encode(record)) == record


def test_a_long_record_is_shortened_but_keeps_how_it_began_and_ended():
    attempts = tuple(an_attempt(target=f"p/{n}", reason="x" * 500) for n in range(50))
    record = a_record(alias="m" * 100_000, attempts=attempts)

    line = encode(record)
    kept = decoded(line)

    assert len(line) <= MAX_RECORD_BYTES
    assert [a.target for a in kept.attempts] == [
        *[f"p/{n}" for n in range(7)],
        "p/49",
    ]
    assert kept.alias == "m" * 128
    assert (kept.tokens, kept.latency) == (record.tokens, record.latency)


@pytest.mark.parametrize("text", ["a", "\0", "\U0001f600", "\ud800", '"', "\\"])
def test_no_text_is_too_long_or_too_odd_for_a_record(text):
    texts = {
        name: text * 10_000
        for name, value in msgspec.structs.asdict(a_record()).items()
        if type(value) is str
    }
    attempts = tuple(
        an_attempt(target=text * 999, reason=text * 999) for _ in range(99)
    )
    record = msgspec.structs.replace(
        a_record(team_id=text * 999, user_id=text * 999), **texts, attempts=attempts
    )

    line = encode(record)

    assert len(line) <= MAX_RECORD_BYTES
    assert decoded(line).tokens == record.tokens
    assert decoded(line).end_reason is record.end_reason


def test_half_a_character_in_an_attempt_costs_the_attempts_only():
    record = a_record(attempts=(an_attempt(reason="\ud800"),))

    assert decoded(encode(record)) == msgspec.structs.replace(record, attempts=())


# Damage.


def torn(segment, at):
    with segment.path.open("r+b") as file:
        file.truncate(at)
        file.truncate(segment.written)


def test_a_last_line_torn_at_any_byte_costs_that_line_only(tmp_path):
    records = some_records(3)
    segment = a_segment(tmp_path, records)
    start = segment.written - len(encode(records[-1]))

    for at in range(start, segment.written):
        torn(segment, at)
        segment.consumed = 0
        batch = read_all(segment)
        whole = at == segment.written - 1  # all but the line feed

        assert batch.records == (records if whole else records[:2]), at
        assert batch.corrupt == (0 if whole or at == start else 1), at
        with segment.path.open("r+b") as file:
            os.pwrite(file.fileno(), encode(records[-1]), start)


def test_a_last_line_that_ends_the_file_at_any_byte_costs_that_line_only(tmp_path):
    records = some_records(3)
    segment = a_segment(tmp_path, records)
    start = segment.written - len(encode(records[-1]))

    for at in reversed(range(start, segment.written)):
        os.truncate(segment.path, at)
        found = journal.Segment(segment.path, at)
        batch = read_all(found)

        assert batch.records[:2] == records[:2]
        assert len(batch.records) == (3 if at == segment.written - 1 else 2)


def test_a_bit_that_flips_anywhere_costs_no_other_line(tmp_path):
    records = some_records(3)
    segment = a_segment(tmp_path, records)
    first, second = len(encode(records[0])), len(encode(records[1]))
    data = segment.path.read_bytes()[: segment.written]

    for at in range(first, first + second - 1):
        damaged = bytearray(data)
        damaged[at] ^= 0x04
        segment.path.write_bytes(damaged)
        segment.consumed = 0
        batch = read_all(segment)

        assert ids(batch.records) == ["r0", "r2"], at
        assert batch.corrupt in {1, 2}


def test_pages_that_never_reached_the_disk_cost_no_other_line(tmp_path):
    records = some_records(60)
    segment = a_segment(tmp_path, records)
    with segment.path.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(4096), 8192)

    batch = read_all(segment)

    lost = 60 - len(batch.records)
    assert (
        4096 // len(encode(records[0])) <= lost <= 4096 // len(encode(records[0])) + 2
    )
    assert set(ids(batch.records)) <= set(ids(records))
    assert batch.corrupt == 1  # what is before the hole and what is after are one piece


def test_a_line_from_another_version_is_skipped(tmp_path, caplog):
    segment = a_segment(tmp_path, [a_record("r1")])
    segment.append(encode(a_record("r2")).replace(b"r2", b"r3"))
    document = b"[7]"
    segment.append(b"%08x %b\n" % (journal.zlib.crc32(document), document))
    segment.append(encode(a_record("r4")))

    batch = read_all(segment)

    assert ids(batch.records) == ["r1", "r4"]
    assert batch.corrupt == 2
    assert "not understood" in caplog.text


def test_random_damage_is_never_fatal(tmp_path):
    dice = random.Random(20)
    segment = a_segment(tmp_path, some_records(30))
    data = segment.path.read_bytes()[: segment.written]

    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(dice.randrange(1, 5)):
            at = dice.randrange(len(damaged))
            damaged[at : at + dice.randrange(3000)] = dice.randbytes(
                dice.randrange(3000)
            )
        segment.path.write_bytes(damaged)
        found = read_all(journal.Segment(segment.path, len(damaged)))

        assert set(ids(found.records)) <= {f"r{n}" for n in range(30)}


# Spans.


@pytest.mark.parametrize("batch_bytes", [MAX_RECORD_BYTES, 5000, 7919, 20_000])
def test_lines_on_the_border_of_spans_are_read_once(tmp_path, batch_bytes, monkeypatch):
    monkeypatch.setattr(journal, "BATCH_BYTES", batch_bytes)
    dice = random.Random(batch_bytes)
    records = [
        a_record(f"r{n}", attempts=(an_attempt(reason="x" * dice.randrange(2500)),))
        for n in range(40)
    ]

    batch = read_all(a_segment(tmp_path, records, segment_bytes=256 * 1024))

    assert batch.records == records
    assert batch.corrupt == 0


@pytest.mark.parametrize("offset", [1, 4096, 10_000, 40_000])
def test_lines_after_a_hole_longer_than_a_span_are_read(tmp_path, offset, monkeypatch):
    monkeypatch.setattr(journal, "BATCH_BYTES", 2 * MAX_RECORD_BYTES)
    segment = a_segment(tmp_path, some_records(1))
    late = encode(a_record("late"))
    with segment.path.open("r+b") as file:
        os.pwrite(file.fileno(), late, segment.written + offset)

    batch = read_all(journal.Segment(segment.path, SEGMENT_BYTES))

    assert ids(batch.records) == ["r0", "late"]
    assert batch.corrupt == 0


def test_a_file_that_became_shorter_comes_to_an_end(tmp_path):
    segment = a_segment(tmp_path, some_records(100))
    os.truncate(segment.path, 0)

    assert read_all(segment).records == []


def test_a_file_that_is_gone_cannot_be_read(tmp_path):
    segment = a_segment(tmp_path, some_records(1))
    segment.path.unlink()

    with pytest.raises(JournalUnreadable):
        journal.read(segment.span())


# Files.


def test_the_room_of_a_segment_is_taken_on_the_disk_before_it_is_used(tmp_path):
    segment = a_segment(tmp_path, [], segment_bytes=1 << 20)

    assert segment.path.stat().st_blocks * 512 >= 1 << 20
    assert segment.room == 1 << 20


async def test_what_was_forced_to_the_disk_is_known(tmp_path):
    segment = a_segment(tmp_path, some_records(3))

    await JournalDirectory(tmp_path, SEGMENT_BYTES).sync([segment])

    assert segment.synced == segment.written > 0


async def test_what_the_disk_does_not_confirm_counts_as_not_forced(tmp_path):
    device = journal.Segment(
        tmp_path, SEGMENT_BYTES, file=os.open(os.devnull, os.O_WRONLY)
    )
    device.append(encode(a_record()))

    with pytest.raises(StorageError, match="cannot sync"):
        await JournalDirectory(tmp_path, SEGMENT_BYTES).sync([device])

    assert device.synced == 0
    os.close(device._file)


def test_a_closed_segment_gives_back_the_room_it_did_not_use(tmp_path):
    segment = a_segment(tmp_path, some_records(1))
    segment.close()
    segment.close()

    assert segment.path.stat().st_size == segment.written
    assert segment.room == 0


def test_a_segment_there_is_no_room_for_is_refused_and_leaves_nothing(tmp_path):
    directory = JournalDirectory(tmp_path, 1 << 20)
    with file_size_limit(1 << 16):
        with pytest.raises(StorageError, match="cannot allocate"):
            directory.allocate()

    assert list(tmp_path.iterdir()) == []
    assert directory.allocate().room == 1 << 20


def test_a_segment_leaves_the_database_room_to_take_it_in(tmp_path):
    disk = os.statvfs(tmp_path)
    half = disk.f_bavail * disk.f_frsize // 2

    with pytest.raises(StorageError, match="No space left"):
        JournalDirectory(tmp_path, half).allocate()

    assert list(tmp_path.iterdir()) == []


def test_half_a_write_is_done_again_in_the_same_place(tmp_path):
    record = a_record()
    directory = JournalDirectory(tmp_path, SEGMENT_BYTES)
    segment = directory.allocate()
    os.truncate(segment.path, 0)

    with file_size_limit(100):
        with pytest.raises(OSError, match="No space left"):
            segment.append(encode(record))
    assert segment.path.stat().st_size == 100
    assert segment.written == 0

    segment.append(encode(record))
    assert read_all(segment).records == [record]


def test_a_segment_too_small_for_a_record_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"usage\.segment_bytes"):
        JournalDirectory(tmp_path, MAX_RECORD_BYTES - 1)


def test_a_journal_has_one_owner_at_a_time(tmp_path):
    first = JournalDirectory(tmp_path / "journal", SEGMENT_BYTES)
    second = JournalDirectory(tmp_path / "journal", SEGMENT_BYTES)
    first.open()
    with pytest.raises(JournalInUse, match="another gateway"):
        second.open()

    first.close()
    assert second.open() == []
    second.close()


def test_a_folder_that_cannot_be_used_is_refused(tmp_path):
    (tmp_path / "journal").touch()

    with pytest.raises(StorageError, match="cannot use"):
        JournalDirectory(tmp_path / "journal", SEGMENT_BYTES).open()


def test_segments_of_earlier_runs_come_oldest_first_and_their_numbers_go_on(tmp_path):
    directory = JournalDirectory(tmp_path, SEGMENT_BYTES)
    made = [directory.allocate().path for _ in range(12)]

    again = JournalDirectory(tmp_path, SEGMENT_BYTES)
    found = [segment.path for segment in again.open()]
    following = again.allocate().path
    again.close()

    assert found == made
    assert following.name > made[-1].name
