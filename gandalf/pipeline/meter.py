"""The estimate of what a stream has delivered, and its reservation in steps.

The truth comes with the stream's end. Until then, and for good if the stream is cut
short, the estimate decides. It counts bytes, and looks at a part of the stream now and
then: an event there is a token, or a token for each four bytes of its text if that is
more. What a part has for each byte is taken for the whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gandalf.dialects.estimate import BYTES_PER_TOKEN

STEP_TOKENS = 1024
"""Output tokens that a stream reserves at a time."""

FIRST_SAMPLE_BYTES = 2048
"""Bytes after which a part is looked at, if there is a limit."""

SAMPLE_BYTES = 1024
"""As much of a part is looked at: the search for text takes 5 us for so much."""

# What events hold of an answer, in the words of every dialect.
_TEXT = re.compile(
    rb'"(?:content|text|thinking|partial_json|arguments|delta|response|reasoning'
    rb'|reasoning_content)"\s*:\s*"((?:[^"\\]|\\.)*)"'
)
_NEVER = 2**62


class StreamMeter:
    """Counts what one client gets of a stream.

    Whoever passes the stream on adds to ``size``, sets ``last``, and calls ``check``
    when ``size`` exceeds ``check_at``: a call for each event would cost more than
    everything else here.
    """

    __slots__ = (
        "_allowed_tokens",
        "_sampled_bytes",
        "_sampled_tokens",
        "_step",
        "check_at",
        "last",
        "size",
    )

    def __init__(self) -> None:
        self.size = 0
        """Bytes that the client has got, or is about to get."""
        self.last = b""
        """The latest of them."""
        self.check_at = _NEVER
        """The size above which to call ``check``."""
        self._sampled_bytes = 0
        self._sampled_tokens = 0
        self._allowed_tokens = _NEVER
        self._step: Callable[[int], int] | None = None

    def limit(self, allowed_tokens: int, step: Callable[[int], int]) -> None:
        """Ask ``step`` for more whenever more than ``allowed_tokens`` have come.

        Args:
            allowed_tokens: Output tokens that are reserved.
            step: Reserves for at least so many output tokens in all; returns for how
                many. Raises BudgetExceeded.
        """
        self._allowed_tokens = allowed_tokens
        self._step = step
        self.check_at = FIRST_SAMPLE_BYTES

    def check(self) -> None:
        """Look at the last part, and reserve more if need be.

        Raises:
            BudgetExceeded: Budgets have no room for more of the stream.
        """
        self._sample()
        step, tokens = self._step, self.tokens
        if step is not None and tokens > self._allowed_tokens:
            self._allowed_tokens = step(tokens)
        # Where the reservation is used up, or half way there, as the rate may change.
        left = self._allowed_tokens - tokens
        bytes_left = left * self._sampled_bytes // max(1, self._sampled_tokens)
        self.check_at = self.size + max(64, min(3 * self.size, bytes_left // 2))

    @property
    def tokens(self) -> int:
        """Output tokens delivered, about."""
        if not self.size:
            return 0
        if not self._sampled_bytes:
            self._sample()
        return max(1, self.size * self._sampled_tokens // self._sampled_bytes)

    def _sample(self) -> None:
        sample = self.last[-SAMPLE_BYTES:]
        if len(sample) < len(self.last):
            # It may begin in the middle of an event.
            _, _, whole = sample.partition(b"\n\n" if b"\n\n" in sample else b"\n")
            sample = whole or sample
        self._sampled_bytes += len(sample)
        self._sampled_tokens += _tokens_in(sample)


def _tokens_in(data: bytes) -> int:
    """Return about how many tokens the events in ``data`` hold."""
    # Events end with a blank line, or are lines of JSON.
    events = data.count(b"\n\n") or data.count(b"\n") or 1
    text = sum(map(len, _TEXT.findall(data)))
    return max(events, text // BYTES_PER_TOKEN)
