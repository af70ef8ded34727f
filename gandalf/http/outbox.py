"""What the tasks of one turn of the loop have to send leaves together, at its end.

A send wakes whoever waits for it, which costs the kernel more than the bytes do; of
many in a row only the first one does. And what must have happened before an answer
leaves, the record in the journal, happens once for all answers of a turn.

Nothing waits longer for it than until the tasks that are ready have had their turn, or
until ``AT_ONCE`` have something to send.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import trio

log = logging.getLogger("gandalf.http")

# Sends that may come together. More would keep the first of them waiting for little.
AT_ONCE = 32


class Sender(Protocol):
    """A socket with something to send."""

    def send_held(self) -> None:
        """Send what was held back. Must neither raise nor wake anybody.

        trio has decided how long to sleep by the time that it is called.
        """


class Outbox(trio.abc.Instrument):
    """The sends of one trio run. Made by ``outbox``."""

    def __init__(self) -> None:
        self._senders: list[Sender] = []
        self._first: list[Callable[[], object]] = []

    def do_first(self, prepare: Callable[[], object]) -> None:
        """Call ``prepare`` at the end of every turn, before anything is sent."""
        self._first.append(prepare)

    def add(self, sender: Sender) -> None:
        """Have ``sender`` send what it holds at the end of the turn."""
        self._senders.append(sender)
        if len(self._senders) >= AT_ONCE:
            self.flush()

    def prepare(self) -> None:
        """Do now what must come before anything is sent.

        For those who send something at once.
        """
        for prepare in self._first:
            try:
                prepare()
            except Exception:
                log.exception("what comes before sending has failed")

    def flush(self) -> None:
        """Send now what was to be sent at the end of the turn."""
        self.prepare()
        if self._senders:
            senders, self._senders = self._senders, []
            for sender in senders:
                try:
                    sender.send_held()
                except Exception:
                    # The others would never send again, nor would anybody after them:
                    # trio gives up an instrument that raises.
                    log.exception("what was to be sent is not")

    def before_io_wait(self, timeout: float) -> None:
        """Called by trio at the end of each turn."""
        self.flush()


_OUTBOXES: trio.lowlevel.RunVar[Outbox] = trio.lowlevel.RunVar("outbox")


def outbox() -> Outbox:
    """Return the outbox of this trio run."""
    try:
        return _OUTBOXES.get()
    except LookupError:
        found = Outbox()
        _OUTBOXES.set(found)
        trio.lowlevel.add_instrument(found)
        return found
