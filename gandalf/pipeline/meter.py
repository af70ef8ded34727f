"""The estimate of what a stream has delivered, and its reservation in steps.

The truth comes with the stream's end. Until then, and for good if the stream is cut
short, the estimate decides: an event is one token, and one more for each four bytes
that it is longer than the shortest event of the stream. The shortest event shows what
the framing takes.
"""

from __future__ import annotations

from collections.abc import Callable

from gandalf.dialects.estimate import BYTES_PER_TOKEN

STEP_TOKENS = 1024
"""Output tokens that a stream reserves at a time."""

_UNLIMITED = 2**62
_NO_FRAME = 2**31


class StreamMeter:
    """Counts what one client gets of a stream. Replaced by each new attempt's."""

    __slots__ = ("_bytes", "_events", "_frame_bytes", "_step", "allowed_tokens")

    def __init__(self) -> None:
        self._bytes = 0
        self._events = 0
        self._frame_bytes = _NO_FRAME
        self._step: Callable[[int], int] | None = None
        self.allowed_tokens = _UNLIMITED
        """Above this, more must be reserved."""

    def limit(self, allowed_tokens: int, step: Callable[[int], int]) -> None:
        """Ask ``step`` for more whenever more than ``allowed_tokens`` have come.

        Args:
            allowed_tokens: Output tokens that are reserved.
            step: Reserves for at least so many output tokens in all; returns for how
                many. Raises BudgetExceeded.
        """
        self.allowed_tokens = allowed_tokens
        self._step = step

    def add(self, data: bytes) -> None:
        """Count ``data``, which the client is about to get.

        Raises:
            BudgetExceeded: Budgets have no room for more of the stream.
        """
        size = len(data)
        # What has no blank lines is one event: a line of JSON, a part of an array.
        events = data.count(b"\n\n") or 1
        self._bytes += size
        self._events += events
        frame = size // events
        if frame < self._frame_bytes:
            self._frame_bytes = frame
        step = self._step
        if step is not None and self.tokens > self.allowed_tokens:
            self.allowed_tokens = step(self.tokens)

    @property
    def tokens(self) -> int:
        """Output tokens delivered, about."""
        framing = self._events * self._frame_bytes
        return self._events + max(0, self._bytes - framing) // BYTES_PER_TOKEN
