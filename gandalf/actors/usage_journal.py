"""The usage journal: every request, kept from before it is sent to an upstream.

A request leaves a line when it is opened and a record when it is finished. What has the
one and not the other at a start was in flight when the process died.

``flush`` puts the records of a turn of the loop into a file before their answers' last
bytes leave, so a process that is killed loses nothing that was answered. ``run`` loads
the file into the store, ``flush_every`` seconds at a time; what it has not loaded is
loaded at the next start. What is loaded twice is there once: the store knows a record
by its id.

Room is reserved before a request is admitted and on the disk already: a disk that
fills up, or a store that is away for a day, never costs a record. It costs new
requests, 503, once there is no room for another segment.

Loss of power: what was finished since the last flush can be lost. A flush commits to
the store, which forces it to the disk, or while the store is away forces the journal.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import trio

from gandalf.domain.budgets import Tracked
from gandalf.domain.errors import JournalFull, ShuttingDown
from gandalf.domain.usage import OpenedRequest, UsageRecord
from gandalf.storage.errors import JournalUnreadable, StorageError
from gandalf.storage.journal import (
    MAX_RECORD_BYTES,
    JournalDirectory,
    Segment,
    Span,
    encode,
    encode_opened,
    is_opened,
    parse,
    read,
)

log = logging.getLogger("gandalf.usage")

# While the store is away it is tried again after pauses that double up to this, so it
# is in use again within seconds of its return.
MAX_PAUSE = 3.0
# A disk that has no room for a segment is asked again for the next request after this.
FULL_PAUSE = 1.0


class Ingested(Protocol):
    """What became of a span."""

    @property
    def end(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def corrupt(self) -> int: ...


class UsageStore(Protocol):
    """Where records end up. Implemented by ``gandalf.storage.usage``."""

    async def track(self) -> Tracked | None:
        """Sum up by the present rules; None if that is so already."""

    async def ingest(self, span: Span) -> Ingested:
        """Insert the records in ``span``, all or none, each at most once ever."""


OnTracked = Callable[[Tracked, list[UsageRecord]], object]
"""Takes the sums of new rules, and the records that are not in them yet."""


class UsageJournal:
    """Owns the segments: those with room, and those that wait to be loaded.

    Opens the journal at once, for ``reserve`` may be called before ``run`` is.

    Args:
        directory: Where the segments are.
        store: Where records end up.
        flush_every: Seconds between two loads.
        on_tracked: Called when the store has begun to sum up by other rules.

    Raises:
        JournalInUse: Another gateway has the directory.
        StorageError: The directory cannot be used.
    """

    name = "usage-journal"

    def __init__(
        self,
        directory: JournalDirectory,
        store: UsageStore,
        *,
        flush_every: float = 0.2,
        on_tracked: OnTracked | None = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._directory = directory
        self._store = store
        self._flush_every = flush_every
        self._on_tracked = on_tracked
        self._clock = clock
        # Full or found at the start, to be loaded and deleted. Oldest first.
        self._past: deque[Segment] = deque(directory.open())
        # With room. The first is written to; the others are allocated ahead.
        self._open: deque[Segment] = deque()
        # Lines that the disk refused in spite of the room; tried again by ``run``.
        # Nothing is admitted meanwhile, so they are no more than were in flight.
        self._refused_lines: deque[bytes] = deque()
        self._reserved = 0
        # Of records that were written and are not in the file yet.
        self._lines: list[bytes] = []
        # Of these lines, those of opened requests.
        self._unreserved = 0
        # How many may be reserved without another look. The room was for so many when
        # it was last looked at, and each record since has taken one's at the most.
        self._sure = 0
        self._full_until = 0.0
        self._closing = trio.Event()
        self.written = 0
        """Records written since the start."""
        self.loaded = 0
        """Records loaded into the store since the start, replayed ones included."""
        self.corrupt = 0
        """Pieces of segments that were no record. A crash may leave one behind."""
        self.refused = 0
        """Requests refused because they could not have been recorded."""
        self.last_error: str | None = None
        """Why the store is not in use now. None while it is."""

    @property
    def degraded(self) -> bool:
        """Whether the store is away; records are safe, but not to be seen yet."""
        return self.last_error is not None

    @property
    def backlog_bytes(self) -> int:
        """What is in the journal and not in the store.

        At the start after a crash: at the most, as the end is not known before it is
        read.
        """
        return sum(s.written - s.consumed for s in self._segments())

    @property
    def in_flight(self) -> int:
        """Requests that room is reserved for."""
        return self._reserved

    def reserve(self) -> None:
        """Keep room for the record of one request; ``write`` or ``release`` ends it.

        Raises:
            JournalFull: There is none, nor on the disk.
            ShuttingDown: The journal is closed.
        """
        if self._reserved >= self._sure:
            self._look_for_room()
        self._reserved += 1

    def release(self) -> None:
        """Give back what ``reserve`` kept, without a record."""
        self._reserved -= 1

    def write(self, record: UsageRecord) -> None:
        """Take ``record``, for which room was reserved. Never waits, never fails.

        It is in the file after ``flush``, and never half of it.
        """
        self._lines.append(encode(record))
        self.written += 1

    def open(self, opened: OpenedRequest) -> None:
        """Take the line of a request that is about to be sent to an upstream.

        It is in the file after ``flush``, which must come before the request is sent.
        May be called again for the same request; the last line counts.

        Raises:
            JournalFull: There is no room for it.
            ShuttingDown: The journal is closed.
        """
        # It takes room that nobody has reserved.
        if self._reserved >= self._sure:
            self._look_for_room()
        self._sure -= 1
        self._lines.append(encode_opened(opened))
        self._unreserved += 1

    def flush(self) -> None:
        """Have in the file all that was written. Never waits, never fails."""
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        records = len(lines) - self._unreserved
        self._unreserved = 0
        self._sure -= records
        if self._append_at_once(b"".join(lines)):
            self._reserved -= records
            return
        for line in lines:
            if not self._refused_lines and self._append(line):
                self._reserved -= not is_opened(line)
            else:
                self._refused_lines.append(line)
                self._sure = 0

    async def replay(self) -> None:
        """Load what earlier runs have left. To be called before the first request.

        Raises:
            StorageError: The store could not be written to.
        """
        await self._store.track()
        for segment in list(self._past):
            while segment.consumed < segment.written:
                try:
                    ingested = await self._store.ingest(segment.span())
                except JournalUnreadable as error:
                    self._leave(segment, error)
                    break
                self._note_loaded(segment, ingested)
        await self._delete_loaded()

    async def run(self) -> None:
        """Load what is in the journal until it is closed and nothing is left."""
        pause = self._flush_every
        try:
            while True:
                closing = self._closing.is_set()
                if await self._load():
                    pause = self._flush_every
                    if closing and self._is_empty():
                        return
                else:
                    pause = min(2 * pause, MAX_PAUSE)
                await self._sleep(pause)
        finally:
            self._end()

    def close(self) -> None:
        """Admit no more requests. ``run`` returns once all is loaded."""
        self._closing.set()
        self._sure = 0

    # Room.

    def _look_for_room(self) -> None:
        if self._closing.is_set():
            raise ShuttingDown
        if self._refused_lines or not (
            self._reserved < self._capacity() or self._allocate_now()
        ):
            self.refused += 1
            raise JournalFull
        self._sure = self._capacity()

    def _capacity(self) -> int:
        # In records, segment by segment: no line crosses from one into the next.
        return sum(segment.room // MAX_RECORD_BYTES for segment in self._open)

    def _allocate_now(self) -> bool:
        # For bursts that come faster than ``run`` allocates ahead. Some 0.1 ms.
        if self._clock() < self._full_until:
            return False
        try:
            self._open.append(self._directory.allocate())
        except StorageError as error:
            self._note_full(error)
            return False
        self._full_until = 0.0
        return True

    async def _keep_room(self) -> None:
        """Have a whole segment's room free beside what is reserved."""
        ahead = self._directory.segment_bytes // MAX_RECORD_BYTES
        try:
            while self._capacity() - self._reserved < ahead:
                self._open.append(await self._directory.allocate_ahead())
                self._full_until = 0.0
        except StorageError as error:
            self._note_full(error)
        if self._refused_lines:
            self._retry_refused_lines()

    def _note_full(self, error: StorageError) -> None:
        if self._full_until == 0.0:
            log.error("no room for the usage journal: %s", error)
        self._full_until = self._clock() + FULL_PAUSE

    def _append_at_once(self, lines: bytes) -> bool:
        if self._refused_lines or not self._open:
            return False
        try:
            return self._open[0].append(lines)
        except OSError:  # Told of when they are written one by one.
            return False

    def _append(self, line: bytes) -> bool:
        while self._open:
            segment = self._open[0]
            try:
                if segment.append(line):
                    return True
            except OSError as error:
                log.critical("cannot write to %s: %s", segment.path, error)
                return False
            self._past.append(self._open.popleft())
        return False

    def _retry_refused_lines(self) -> None:
        # Elsewhere, if there is an elsewhere: this part of the disk may be broken.
        if len(self._open) > 1:
            self._past.append(self._open.popleft())
        while self._refused_lines and self._append(self._refused_lines[0]):
            line = self._refused_lines.popleft()
            self._reserved -= not is_opened(line)

    # Loading.

    def _segments(self) -> Iterator[Segment]:
        yield from self._past
        yield from self._open

    async def _load(self) -> bool:
        """Load what is there now; return whether the store took it.

        What is written meanwhile waits for the next time, so that there is one commit
        every ``flush_every`` seconds and not one for every few records.
        """
        self.flush()
        await self._keep_room()
        if not await self._track():
            return False
        for segment, until in [(s, s.written) for s in self._segments()]:
            while segment.consumed < until:
                try:
                    ingested = await self._store.ingest(segment.span())
                except JournalUnreadable as error:
                    self._leave(segment, error)
                    break
                except Exception as error:  # noqa: BLE001 - a bug must not cost records
                    await self._note_away(error)
                    return False
                self._note_loaded(segment, ingested)
                await self._keep_room()
            await self._delete_loaded()
        return True

    async def _track(self) -> bool:
        """Have the store sum up by the present rules; return whether it does.

        Here, between two loads, the records that are in the store are those that are
        not in the journal.
        """
        try:
            tracked = await self._store.track()
        except Exception as error:  # noqa: BLE001 - a bug must not cost records
            await self._note_away(error)
            return False
        if tracked is not None and self._on_tracked is not None:
            self._on_tracked(tracked, self._unloaded())
        return True

    def _unloaded(self) -> list[UsageRecord]:
        """Return the records that are not in the store. Reads what is not loaded."""
        records: list[UsageRecord] = []
        for segment in self._segments():
            start = segment.consumed
            while start < segment.written:
                batch = read(segment.span(start))
                records += (entry.record for entry in batch.entries)
                start = batch.end
        waiting = b"".join((*self._refused_lines, *self._lines))
        return records + [entry.record for entry in parse(waiting)[0]]

    def _leave(self, segment: Segment, error: JournalUnreadable) -> None:
        log.error("left as it is, and not loaded: %s", error)
        self._past = deque(s for s in self._past if s is not segment)

    def _is_empty(self) -> bool:
        return not (self._refused_lines or self._lines) and all(
            s.consumed >= s.written for s in self._segments()
        )

    def _note_loaded(self, segment: Segment, ingested: Ingested) -> None:
        segment.consumed = ingested.end
        self.loaded += ingested.records
        if ingested.corrupt:
            self.corrupt += ingested.corrupt
            log.warning(
                "%d piece(s) of %s are no records, skipped; usual after the loss of"
                " power, not otherwise",
                ingested.corrupt,
                segment.path,
            )
        if self.degraded:
            log.warning("the database takes usage records again")
            self.last_error = None

    async def _note_away(self, error: Exception) -> None:
        if not self.degraded:
            log.error(
                "usage records stay in the journal for now: %s",
                error,
                exc_info=None if isinstance(error, StorageError) else error,
            )
        self.last_error = str(error) or repr(error)
        try:
            await self._directory.sync(
                [s for s in self._segments() if s.synced < s.written]
            )
        except StorageError as failure:
            self.last_error = f"{error}; {failure}"

    async def _delete_loaded(self) -> None:
        loaded = [s for s in self._past if s.consumed >= s.written]
        if loaded:
            await self._directory.delete(loaded)
            self._past = deque(s for s in self._past if s not in loaded)

    async def _sleep(self, seconds: float) -> None:
        if self._closing.is_set():
            await trio.sleep(seconds)
        else:
            with trio.move_on_after(seconds):
                await self._closing.wait()

    def _end(self) -> None:
        self.flush()
        if self._refused_lines:
            log.critical("%d usage records are lost", len(self._refused_lines))
        refused = sum(not is_opened(line) for line in self._refused_lines)
        if self._reserved > refused:
            # Somebody may yet write. The files stay open, and are replayed.
            return
        self._sure = 0
        segments = list(self._segments())
        self._directory.delete_now(s for s in segments if s.consumed >= s.written)
        for segment in segments:
            segment.close()
        self._directory.close()
