"""The files that requests are written to first: when they are opened, and at their end.

A line is ``<crc32 as 8 hex digits> <the record>\\n``. The record is an array of JSON,
its items the fields of ``UsageRecord`` in their order; it goes into the database as it
is. In the line of a request that is opened, ``>`` stands in place of the blank, and the
array has the fields of ``OpenedRequest``. A segment is allocated in full before it is
used, so that a disk that fills up later cannot hit a record; what is not written yet is
zero bytes. Lines do not cross segments.

Whatever a crash or a loss of power leaves behind can be read: bytes that are no line
are counted and skipped, wherever they are, and so are zeros between lines.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from gandalf.domain.usage import OpenedRequest, UsageRecord
from gandalf.storage.errors import JournalInUse, JournalUnreadable, StorageError

log = logging.getLogger("gandalf.storage")

# What each request in flight keeps free for its record. A usual record takes 400
# bytes; one that would take more than this is shortened.
MAX_RECORD_BYTES = 4096
# What is read and committed at a time: some 1,200 records. Each series of requests in
# it costs some 50 us, so fewer and larger ones are cheaper.
BATCH_BYTES = 512 * 1024
SUFFIX = ".journal"

_TEXTS = tuple(
    name
    for name in UsageRecord.__struct_fields__
    if name not in {"request_id", "end_reason", "usage_source"}
)

_encode = msgspec.json.Encoder().encode
_crc32 = zlib.crc32


class Entry(NamedTuple):
    """A record as the journal has it."""

    document: str
    """All of it, as an array of JSON. The database keeps it so."""
    record: UsageRecord


_record_of = msgspec.json.Decoder(UsageRecord).decode


def encode(record: UsageRecord) -> bytes:
    """Return the line for ``record``, of at most ``MAX_RECORD_BYTES``.

    One that would be longer, or cannot be written as it is, is kept in short: an
    upstream or a client that sends us monsters must not make its request unaccounted.
    """
    try:
        document = _encode(record)
    except UnicodeEncodeError:  # half a surrogate pair
        return _line(essentials(record))
    line = b"%08x %b\n" % (_crc32(document), document)
    if len(line) <= MAX_RECORD_BYTES:
        return line
    line = _line(_shortened(record))
    return line if len(line) <= MAX_RECORD_BYTES else _line(essentials(record))


def encode_opened(opened: OpenedRequest) -> bytes:
    """Return the line for a request that is opened, of at most ``MAX_RECORD_BYTES``."""
    try:
        document = _encode(opened)
    except UnicodeEncodeError:  # half a surrogate pair
        document = _encode(_shortened_opened(opened))
    line = b"%08x>%b\n" % (_crc32(document), document)
    if len(line) <= MAX_RECORD_BYTES:
        return line
    document = _encode(_shortened_opened(opened))
    return b"%08x>%b\n" % (_crc32(document), document)


def is_opened(line: bytes) -> bool:
    """Whether ``line`` is of a request that is opened, and not of a record."""
    return line[8:9] == b">"


def _shortened_opened(opened: OpenedRequest) -> OpenedRequest:
    values = ((n, getattr(opened, n)) for n in OpenedRequest.__struct_fields__)
    return msgspec.structs.replace(
        opened, **{n: _plain(v, 128) for n, v in values if isinstance(v, str)}
    )


def _line(record: UsageRecord) -> bytes:
    document = _encode(record)
    return b"%08x %b\n" % (_crc32(document), document)


def _shortened(record: UsageRecord) -> UsageRecord:
    # The first attempts say what went wrong, the last one how it ended.
    attempts = record.attempts
    if len(attempts) > 8:
        attempts = (*attempts[:7], attempts[-1])
    return msgspec.structs.replace(
        _cut(record, 128),
        attempts=tuple(
            msgspec.structs.replace(a, target=a.target[:80], reason=a.reason[:80])
            for a in attempts
        ),
    )


def essentials(record: UsageRecord) -> UsageRecord:
    """Return what of ``record`` can always be written: no attempts, no monsters."""
    usage = {
        name: count if count is None else _sane(count)
        for name, count in msgspec.structs.asdict(record.tokens).items()
        if name != "other"
    }
    cost = record.cost_nanousd
    return msgspec.structs.replace(
        _cut(record, 32),
        request_id=_plain(record.request_id, 64),
        status=_sane(record.status),
        estimated_tokens=_sane(record.estimated_tokens),
        tokens=msgspec.structs.replace(record.tokens, other=None, **usage),
        attempts=(),
        cost_nanousd=cost if cost is None else _sane(cost),
        charged_nanousd=_sane(record.charged_nanousd),
    )


def _cut(record: UsageRecord, length: int) -> UsageRecord:
    values = ((name, getattr(record, name)) for name in _TEXTS)
    return msgspec.structs.replace(
        record, **{n: _plain(v, length) for n, v in values if isinstance(v, str)}
    )


def _plain(text: str, length: int) -> str:
    return text[:length].encode(errors="replace").decode()


def _sane(number: int) -> int:
    return max(0, min(number, 2**53 - 1))


class Span(msgspec.Struct, frozen=True):
    """A part of a segment, to be read by a thread."""

    path: Path
    start: int
    end: int
    final: bool
    """Whether nothing follows, so that half a line at the end is all there is."""


class Batch(msgspec.Struct, frozen=True):
    """What a span holds."""

    entries: list[Entry]
    opened: dict[str, bytes]
    """The last line of each request that was opened, by id: ``OpenedRequest`` as JSON.
    """
    corrupt: int
    """Pieces that are no line of ours."""
    end: int
    """Where the next span starts."""


def read(span: Span) -> Batch:
    """Return what is in ``span``. Blocking: called in a thread.

    Raises:
        JournalUnreadable: The file is gone, or the disk cannot read it.
    """
    try:
        with span.path.open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), span.end - span.start, span.start)
    except OSError as error:
        raise JournalUnreadable(f"cannot read {span.path}: {error}") from error
    taken = len(data)
    if not span.final:
        # Without the end of any line in it, only its last bytes can begin one.
        taken = data.rfind(b"\n") + 1 or max(1, len(data) - MAX_RECORD_BYTES)
    entries, opened, corrupt = parse(data[:taken])
    # Of a file that is shorter than it was said to be, nothing more is to come.
    end = span.end if span.final or not data else span.start + taken
    return Batch(entries, opened, corrupt, end)


def parse(data: bytes) -> tuple[list[Entry], dict[str, bytes], int]:
    """Return the records in ``data``, the opened requests, and the number of others."""
    entries: list[Entry] = []
    opened: dict[str, bytes] = {}
    corrupt = 0
    for piece in data.split(b"\n"):
        if not (line := piece.strip(b"\0")):
            continue
        try:
            head, document = line[:9], line[9:]
            checksum = b"%08x" % _crc32(document)
            if head == checksum + b" ":
                entries.append(Entry(document.decode(), _record_of(document)))
            elif head == checksum + b">":
                # Its id comes first, and needs no escapes. The rest is read if the
                # request has no record.
                opened[document.split(b'"', 2)[1].decode()] = document
            else:
                corrupt += 1
        except msgspec.DecodeError:
            corrupt += 1
            log.error("a line of another version was not understood: %r", line)
    return entries, opened, corrupt


class Segment:
    """One file: written by the journal, read by threads through ``span``."""

    __slots__ = ("_file", "_size", "consumed", "path", "synced", "written")

    def __init__(self, path: Path, size: int, *, file: int = -1) -> None:
        self.path = path
        self.written = 0 if file != -1 else size
        """Where the next line goes. Of a segment found at the start: its size."""
        self.consumed = 0
        """What is before is in the database."""
        self.synced = 0
        """What is before is on the disk."""
        self._size = size
        self._file = file

    @property
    def room(self) -> int:
        """Bytes that can still be written."""
        return self._size - self.written if self._file != -1 else 0

    def append(self, line: bytes) -> bool:
        """Write ``line``, all of it or, as far as any reader can tell, none.

        Returns:
            Whether there was room for it.

        Raises:
            OSError: It could not be written; another try goes to the same place.
        """
        start = self.written
        size = len(line)
        if start + size > self._size or self._file == -1:
            return False
        if os.pwrite(self._file, line, start) != size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self.written = start + size
        return True

    def span(self, start: int | None = None) -> Span:
        """Return what to read next, or after ``start``."""
        if start is None:
            start = self.consumed
        end = min(self.written, start + BATCH_BYTES)
        return Span(self.path, start, end, final=end == self.written)

    def sync(self) -> None:
        """Force what was written to the disk. Blocking."""
        if self._file != -1:
            os.fdatasync(self._file)

    def close(self) -> None:
        """Let go of the file, and of the room in it that was not used. Idempotent."""
        if self._file != -1:
            os.ftruncate(self._file, self.written)
            os.close(self._file)
            self._file = -1


class JournalDirectory:
    """The segments of one journal, locked for as long as it is open.

    Args:
        path: The folder. It is made if it is not there.
        segment_bytes: Size of a segment.
    """

    def __init__(self, path: str | Path, segment_bytes: int) -> None:
        if segment_bytes < MAX_RECORD_BYTES:
            raise StorageError(
                f"usage.segment_bytes must be at least {MAX_RECORD_BYTES}"
            )
        self.path = Path(path)
        self.segment_bytes = segment_bytes
        self._numbers = itertools.count(1)
        self._lock_file = -1
        # Not the database's: a locked database must not delay the next segment.
        self._slot = trio.CapacityLimiter(1)

    def open(self) -> list[Segment]:
        """Lock the folder and return the segments of earlier runs, oldest first.

        Raises:
            JournalInUse: Another gateway has it.
            StorageError: The folder cannot be used.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock()
            found = sorted(self.path.glob(f"*{SUFFIX}"))
            segments = [Segment(path, path.stat().st_size) for path in found]
        except OSError as error:
            self.close()
            raise StorageError(f"cannot use {self.path}: {error}") from error
        if found:
            self._numbers = itertools.count(_number(found[-1]) + 1)
        return segments

    def close(self) -> None:
        """Unlock the folder. Idempotent."""
        if self._lock_file != -1:
            os.close(self._lock_file)
            self._lock_file = -1

    def allocate(self) -> Segment:
        """Make a new segment, with room for all of it on the disk. Blocking.

        Raises:
            StorageError: There is no room.
        """
        path = self.path / f"{next(self._numbers):016d}{SUFFIX}"
        try:
            self._check_free()
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.posix_fallocate(file, 0, self.segment_bytes)
            except OSError:
                os.close(file)
                path.unlink()
                raise
        except OSError as error:
            raise StorageError(f"cannot allocate {path}: {error.strerror}") from error
        return Segment(path, self.segment_bytes, file=file)

    async def allocate_ahead(self) -> Segment:
        """Make a new segment, in a thread, and have it survive the loss of power."""

        def allocate() -> Segment:
            segment = self.allocate()
            self._sync_entries()
            return segment

        return await trio.to_thread.run_sync(allocate, limiter=self._slot)

    async def sync(self, segments: Iterable[Segment]) -> None:
        """Force what was written to ``segments`` to the disk, in a thread."""
        marks = [(segment, segment.written) for segment in segments]

        def sync() -> None:
            for segment, _ in marks:
                segment.sync()
            self._sync_entries()

        try:
            await trio.to_thread.run_sync(sync, limiter=self._slot)
        except OSError as error:
            raise StorageError(f"cannot sync {self.path}: {error}") from error
        for segment, written in marks:
            segment.synced = written

    async def delete(self, segments: Iterable[Segment]) -> None:
        """Delete segments of which everything is in the database, in a thread."""
        await trio.to_thread.run_sync(
            self.delete_now, tuple(segments), limiter=self._slot
        )

    def delete_now(self, segments: Iterable[Segment]) -> None:
        """Delete segments. Blocking. One that stays is replayed at the next start."""
        for segment in segments:
            try:
                segment.close()
                segment.path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("cannot delete %s: %s", segment.path, error)

    def _lock(self) -> None:
        self._lock_file = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise JournalInUse(
                f"{self.path} is in use by another gateway; each needs its own"
            ) from None

    def _check_free(self) -> None:
        # The database needs room to take in what the journal holds; a journal that
        # filled the disk to the last byte could never be emptied again.
        disk = os.statvfs(self.path)
        if disk.f_bavail * disk.f_frsize < 3 * self.segment_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _sync_entries(self) -> None:
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdigit() else 0
