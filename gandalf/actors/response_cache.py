"""The answers that may be given again, and who is making one right now.

Two bounds hold at any time: entries and bytes, overheads included. Bytes of answers
that are still being captured have the same bound once more, so that thousands of
cacheable streams at once do not grow the process: beyond it they are not captured.

Identical requests fly once: the first caller of ``join`` makes the answer, the others
wait for it. Who makes it holds a ``Capture`` and must hand it back exactly once:

    keep      here is the answer: it is stored, and everyone who waits gets it
    pass_on   its client has left before there was one: one of those who wait makes it
    give_up   there is none that may be shared: each makes its own, nobody waits again

Without the last, a hundred requests whose answer must not be kept (it was cut off at
``max_tokens``) would go upstream one after the other.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable

import msgspec
import trio

from gandalf.config import Cache

ENTRY_OVERHEAD = 386
"""Bytes an entry takes besides its key, body and ending: the structs, target
and the slots in the table. Measured with tracemalloc; a test repeats it."""


class CachedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer, as the client got it."""

    status: int
    content_type: bytes
    body: bytes
    """Of a stream: all of its bytes but the ending."""
    stream: bool = False
    ending: bytes = b""
    target: str = ""
    """``provider/model`` that made it."""
    dropped: tuple[str, ...] = ()
    """Fields of the request that were lost on the way there."""
    approximated: tuple[str, ...] = ()


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache did since the start, and what it holds."""

    hits: int
    misses: int
    bypasses: int
    evictions: int
    """Entries that made room for others; those that expired are not among them."""
    entries: int
    size_bytes: int


class _Entry(msgspec.Struct):
    answer: CachedAnswer
    expires_at: float
    size_bytes: int
    alias: str
    org_id: str


class _Flight:
    """An answer in the making, for those who wait for it."""

    __slots__ = ("answer", "landed", "shared")

    def __init__(self) -> None:
        self.landed = trio.Event()
        self.answer: CachedAnswer | None = None
        self.shared = True
        """Whether it is worth while to wait for the next one."""


class Capture:
    """The duty to make an answer, and its bytes so far.

    An answer that grows beyond what may be kept is forgotten at once, and so is what
    comes after: the duty remains.
    """

    __slots__ = ("_cache", "_flight", "_pieces", "dead", "ending", "generation", "key")

    def __init__(
        self, cache: ResponseCache, key: bytes, flight: _Flight | None, generation: int
    ) -> None:
        self.key = key
        self.generation = generation
        self.dead = False
        """Whether it was too large."""
        self.ending = b""
        """What completed the stream. Set by dispatch."""
        self._cache = cache
        self._flight = flight
        self._pieces: list[bytes] = []

    def add(self, data: bytes) -> None:
        """Note what the client gets: a whole answer, or the next piece of a stream."""
        if self.dead:
            return
        if self._cache.grow(self, len(data)):
            self._pieces.append(data)
        else:
            self.discard()

    def discard(self) -> None:
        """Forget the bytes; the answer will not be kept. Idempotent."""
        self.dead = True
        self._cache.shrink(self)
        self._pieces.clear()

    def take_flight(self) -> _Flight | None:
        """Return those who wait, once: the duty is done."""
        flight, self._flight = self._flight, None
        return flight

    @property
    def body(self) -> bytes:
        """All that was added."""
        return b"".join(self._pieces)


class ResponseCache:
    """Owns the answers. Everything but the waiting in ``join`` is synchronous."""

    def __init__(
        self, settings: Cache, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._settings = settings
        self._clock = clock
        # Least recently used first.
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._flights: dict[bytes, _Flight] = {}
        self._size_bytes = 0
        self._captured: dict[Capture, int] = {}
        self._captured_bytes = 0
        self._generation = 0
        self._hits = self._misses = self._bypasses = self._evictions = 0

    # Reading.

    async def join(self, key: bytes) -> CachedAnswer | Capture:
        """Return the answer for ``key``, or the duty to make it.

        Waits while somebody else is making it. A caller that is cancelled meanwhile
        leaves no trace; one that gets a Capture gets it without a checkpoint between.
        """
        while (answer := self._current(key)) is None:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = _Flight()
                return self._miss(key, flight)
            await flight.landed.wait()
            if flight.answer is not None:
                answer = flight.answer
                break
            if not flight.shared:
                return self._miss(key, None)
        self._hits += 1
        return answer

    def get(self, key: bytes) -> CachedAnswer | Capture:
        """Return the answer for ``key``, or the duty to make one, without waiting."""
        answer = self._current(key)
        if answer is None:
            return self._miss(key, None)
        self._hits += 1
        return answer

    def refresh(self, key: bytes) -> Capture:
        """Return the duty to make a new answer for ``key``, whatever is there."""
        self._bypasses += 1
        return self._capture(key, None)

    def bypass(self) -> None:
        """Count a request that had no business with the cache."""
        self._bypasses += 1

    # Handing back a Capture.

    def keep(
        self,
        capture: Capture,
        answer: CachedAnswer,
        ttl: float,
        *,
        alias: str = "",
        org_id: str = "",
    ) -> None:
        """Share ``answer`` with those who wait, and store it.

        Args:
            capture: The duty to make it, which this ends.
            answer: The answer.
            ttl: Seconds for which it is stored.
            alias: The model asked for; ``purge`` can select by it.
            org_id: Organisation of the client; likewise.
        """
        self._land(capture, answer, shared=True)
        # After a purge, an answer from before it is not for those who come later.
        if capture.generation == self._generation:
            self._store(capture.key, answer, ttl, alias, org_id)

    def pass_on(self, capture: Capture) -> None:
        """Leave the duty to one of those who wait, or to nobody."""
        self._land(capture, None, shared=True)

    def give_up(self, capture: Capture) -> None:
        """Let each of those who wait make its own answer."""
        self._land(capture, None, shared=False)

    # Looking after it.

    def purge(self, *, alias: str | None = None, org_id: str | None = None) -> int:
        """Forget stored answers and return how many they were.

        No answer that is in the making now is stored, of whatever alias.

        Args:
            alias: Only answers of this model; None: of all.
            org_id: Only answers to this organisation; None: to all.
        """
        selected = [
            key
            for key, entry in self._entries.items()
            if alias in (None, entry.alias) and org_id in (None, entry.org_id)
        ]
        for key in selected:
            self._drop(key)
        self._flights.clear()
        self._generation += 1
        return len(selected)

    def configure(self, settings: Cache) -> None:
        """Go by ``settings`` from now on; what no longer fits is evicted."""
        self._settings = settings
        self._evict()

    def stats(self) -> CacheStats:
        """Return the counters and the present size."""
        return CacheStats(
            hits=self._hits,
            misses=self._misses,
            bypasses=self._bypasses,
            evictions=self._evictions,
            entries=len(self._entries),
            size_bytes=self._size_bytes,
        )

    @property
    def captured_bytes(self) -> int:
        """Bytes of the answers that are being made."""
        return self._captured_bytes

    # What a Capture asks.

    def grow(self, capture: Capture, size_bytes: int) -> bool:
        """Whether ``capture`` may hold so much more. If so, it is counted."""
        settings = self._settings
        held = self._captured.get(capture)
        if (
            held is None
            or held + size_bytes > settings.max_entry_bytes
            or self._captured_bytes + size_bytes > settings.max_bytes
        ):
            return False
        self._captured[capture] = held + size_bytes
        self._captured_bytes += size_bytes
        return True

    def shrink(self, capture: Capture) -> None:
        """Count ``capture`` as holding nothing and growing no more. Idempotent."""
        self._captured_bytes -= self._captured.pop(capture, 0)

    def _current(self, key: bytes) -> CachedAnswer | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_at <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.answer

    def _miss(self, key: bytes, flight: _Flight | None) -> Capture:
        self._misses += 1
        return self._capture(key, flight)

    def _capture(self, key: bytes, flight: _Flight | None) -> Capture:
        capture = Capture(self, key, flight, self._generation)
        self._captured[capture] = 0
        return capture

    def _land(
        self, capture: Capture, answer: CachedAnswer | None, *, shared: bool
    ) -> None:
        capture.discard()
        flight = capture.take_flight()
        if flight is None:
            return
        flight.answer = answer
        flight.shared = shared
        if self._flights.get(capture.key) is flight:
            del self._flights[capture.key]
        flight.landed.set()

    def _store(
        self, key: bytes, answer: CachedAnswer, ttl: float, alias: str, org_id: str
    ) -> None:
        self._drop(key)
        size_bytes = entry_size_bytes(key, answer)
        if ttl <= 0 or size_bytes > self._settings.max_bytes:
            return
        expires_at = self._clock() + ttl
        self._entries[key] = _Entry(answer, expires_at, size_bytes, alias, org_id)
        self._size_bytes += size_bytes
        self._evict()

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= entry.size_bytes

    def _evict(self) -> None:
        settings = self._settings
        while (
            len(self._entries) > settings.max_size
            or self._size_bytes > settings.max_bytes
        ):
            self._drop(next(iter(self._entries)))
            self._evictions += 1


def entry_size_bytes(key: bytes, answer: CachedAnswer) -> int:
    """Return the memory that ``answer`` takes under ``key``."""
    return (
        ENTRY_OVERHEAD
        + sys.getsizeof(key)
        + sys.getsizeof(answer.body)
        + sys.getsizeof(answer.ending)
    )
