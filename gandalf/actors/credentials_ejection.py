"""Ejection of a provider that refuses the gateway's credentials.

The credentials are the provider's, so its other models would refuse them as well: this
is the only thing that takes them out too. It is brief
(``circuit_breaker.max_ejection``), a trickle is sent all the same, and the first answer
ends it. If that answer comes from another model than the one that refused, the key
itself is good: then only the refusing model stays out. A single refusal shuts
nothing: until several came in a row, a request without any other target is sent.
"""

from __future__ import annotations

from gandalf.actors.rate_limit_waits import TRICKLE_EVERY, needed_in_a_row


class CredentialsEjection:
    """The state of one provider's credentials. Told the time."""

    __slots__ = (
        "_in_a_row",
        "_proven",
        "_refusing",
        "_trickle_at",
        "reason",
        "strict",
        "until",
    )

    def __init__(self) -> None:
        self.until = 0.0
        """Clock time of the end."""
        self.reason = ""
        self.strict = False
        """Whether only a trickle is sent even if there is no other target."""
        self._refusing = ""
        self._proven = False
        self._in_a_row = 0
        self._trickle_at = 0.0

    def refused(
        self, target: str, until: float, samples: int, reason: str, now: float
    ) -> None:
        """Begin, or go on until ``until``: ``target`` has refused the credentials.

        ``samples`` are the target's attempts of the last minute.
        """
        if now >= self.until:
            self._trickle_at = now + TRICKLE_EVERY
        if now >= self.until or target != self._refusing:
            self._proven = False
        self.until, self.reason, self._refusing = until, reason, target
        self._in_a_row += 1
        self.strict = self._in_a_row >= needed_in_a_row(samples)

    def concerns(self, target: str, now: float) -> bool:
        """Whether ``target`` is to be avoided now."""
        if now >= self.until:
            return False
        return not self._proven or target == self._refusing

    def take_trickle(self, now: float) -> bool:
        """Take the place of the next request that is sent all the same."""
        if now < self._trickle_at:
            return False
        self._trickle_at = now + TRICKLE_EVERY
        return True

    def accepted(self, target: str, now: float) -> None:
        """End, as far as the answer of ``target`` proves the credentials good."""
        if target == self._refusing:
            self.until = now
            self._in_a_row = 0
            self.strict = False
        else:
            self._proven = True
