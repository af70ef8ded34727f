"""One cancellation is one exception, also where a nursery was at work inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


@contextmanager
def lone_cancelled() -> Iterator[None]:
    """Turn a group that holds nothing but ``Cancelled`` into one ``Cancelled``.

    A cancelled nursery raises such a group, which an ``except trio.Cancelled`` of a
    caller, who cannot know of the nursery, would not catch.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        cancelled, rest = group.split(trio.Cancelled)
        if cancelled is None or rest is not None:
            raise
        leaf: BaseException = cancelled
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        raise leaf from None
