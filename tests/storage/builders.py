"""Records, journals and databases for tests of what is kept."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from gandalf.domain.usage import (
    Attempt,
    EndReason,
    TokenUsage,
    UsageRecord,
    UsageSource,
)
from gandalf.storage import journal
from gandalf.storage.journal import Entry, JournalDirectory, Segment

SEGMENT_BYTES = 64 * 1024


def an_attempt(**changes) -> Attempt:
    fields = {
        "target": "openai-eu/gpt-4o",
        "started": 0.0002,
        "duration": 1.5,
        "ttfb": 0.4,
        "status": 200,
        "outcome": "served",
        "decision": "answer",
    }
    return Attempt(**{**fields, **changes})


def a_record(request_id: str = "r1", **changes) -> UsageRecord:
    fields = {
        "client_request_id": f"client-{request_id}",
        "received_at": 1_700_000_000.25,
        "operation": "chat",
        "dialect": "openai",
        "key_id": "k1",
        "org_id": "default",
        "team_id": None,
        "user_id": None,
        "alias": "fast",
        "provider": "openai-eu",
        "model": "gpt-4o",
        "stream": False,
        "status": 200,
        "end_reason": EndReason.COMPLETE,
        "error_code": "",
        "cache": "bypass",
        "tokens": TokenUsage(input=100, output=20),
        "usage_source": UsageSource.PROVIDER,
        "estimated_tokens": 130,
        "latency": 1.5,
        "ttft": 0.4,
        "overhead": 0.0003,
        "attempts": (an_attempt(),),
    }
    return UsageRecord(request_id=request_id, **{**fields, **changes})


def some_records(count: int, prefix: str = "r", **changes) -> list[UsageRecord]:
    return [a_record(f"{prefix}{n}", **changes) for n in range(count)]


def ids(records) -> list[str]:
    return [record.request_id for record in records]


def entries_of(records) -> list[Entry]:
    """Return what the journal makes of ``records``."""
    return journal.parse(b"".join(map(journal.encode, records)))[0]


def records_of(entries) -> list[UsageRecord]:
    return [entry.record for entry in entries]


def a_segment(tmp_path, records, *, segment_bytes: int = SEGMENT_BYTES) -> Segment:
    directory = JournalDirectory(tmp_path, segment_bytes)
    segment = directory.allocate()
    for record in records:
        segment.append(journal.encode(record))
    return segment


class Read(NamedTuple):
    """What was read of a segment."""

    records: list[UsageRecord]
    corrupt: int


def read_all(segment: Segment) -> Read:
    """Read a segment to its end, span by span."""
    entries, corrupt = [], 0
    while segment.consumed < segment.written:
        batch = journal.read(segment.span())
        assert batch.end > segment.consumed
        segment.consumed = batch.end
        entries += batch.entries
        corrupt += batch.corrupt
    return Read(records_of(entries), corrupt)


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """Have the kernel refuse what makes a file larger: as near as we get to ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
