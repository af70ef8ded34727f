"""Ends of answers that stand for a failure, in every dialect alike.

Each dialect has a closed table of good ends (``finishes.GOOD_ENDS``). An answer that
ends in any other way has failed, whatever its HTTP status: the upstream did not say
that it is complete.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects.conversation import Failed

_MAX_LENGTH = 100


class AnswerFailed(msgspec.ValidationError):
    """A whole answer of status 200 that reports a failure of its own.

    Args:
        failed: The failure.
    """

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed


def bad_end(reason: str | None, detail: str = "") -> Failed:
    """Return the failure that an end outside the table of good ends stands for.

    Args:
        reason: The upstream's finish reason; None if there is none.
        detail: The upstream's explanation, if it has one.
    """
    if not reason:
        return Failed(message="the answer does not say how it ended")
    message = f"the answer ended with {reason[:_MAX_LENGTH]!r}"
    return Failed(message=f"{message}: {detail[:_MAX_LENGTH]}" if detail else message)


def lacks(part: str) -> Failed:
    """Return the failure of a whole answer without ``part``, which it must have."""
    return Failed(message=f"the answer has no {part}")
