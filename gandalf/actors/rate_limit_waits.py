"""Waits that a target's rate limit (429) asks for, by client key.

A 429 is no failure: the target is there, and what it refuses to one client it may well
serve to another (a large prompt against a limit of tokens, a limit by user). Hence:

- A wait binds the key whose request was limited. It binds every key once two keys are
  waiting, until one of them is served.
- While a wait lasts, other targets are preferred. Without any, requests are sent all
  the same until several in a row were limited (``Wait.strict``): then only a trickle.
- A wait is as long as the upstream asks for, up to ``circuit_breaker.max_ejection``.
  It never grows by repetition, and a success ends it.

Sources: the 429 of RFC 6585 and Retry-After of RFC 9110; "a throttled upstream is not a
broken one", as AWS's SDKs keep throttling errors apart from others.
"""

from __future__ import annotations

from typing import Final

DEFAULT_WAIT: Final = 1.0
"""Seconds that a 429 without ``Retry-After`` is taken to ask for."""

TRICKLE_EVERY: Final = 1.0
"""Seconds between the requests that are sent in spite of a wait or an ejection."""

FORGET_AFTER: Final = 60.0
"""Seconds after its end that a wait's row of 429s is forgotten."""

MAX_IN_A_ROW: Final = 20
"""Requests limited in a row that make a wait strict, at a busy target."""


class Wait:
    """The wait of one client key, or of all of them."""

    __slots__ = ("in_a_row", "reason", "strict", "until")

    def __init__(self) -> None:
        self.until = 0.0
        """Clock time of its end."""
        self.in_a_row = 0
        """Requests that were limited since the last success."""
        self.strict = False
        """Whether only a trickle is sent even if there is no other target."""
        self.reason = ""


class RateLimitWaits:
    """The waits for one target. Told the time, so that it needs no clock."""

    __slots__ = ("_everyone", "_trickle_at", "_waits")

    def __init__(self) -> None:
        self._waits: dict[str, Wait] = {}
        self._everyone: Wait | None = None
        self._trickle_at = 0.0

    def __len__(self) -> int:
        return len(self._waits)

    def limited(
        self, key: str, wait: float, samples: int, reason: str, now: float
    ) -> None:
        """Begin or renew the wait of ``key``, of whose requests one was limited.

        Args:
            key: The client key.
            wait: Seconds to wait.
            samples: Attempts of the last minute: a busy target has to limit more in a
                row before it is believed.
            reason: The words of the upstream.
            now: The time.
        """
        self._prune(now)
        if not self._waits:
            self._trickle_at = now + TRICKLE_EVERY
        own = self._waits.setdefault(key, Wait())
        needed = needed_in_a_row(samples)
        _renew(own, now + wait, needed, reason)
        waiting = sum(each.until > now for each in self._waits.values())
        if waiting > 1:
            if self._everyone is None:
                self._everyone = Wait()
            _renew(self._everyone, now + wait, needed, reason)

    def renew(self, key: str, wait: float, now: float) -> None:
        """Prolong the wait of ``key``: a request's own retry was limited as well."""
        own = self._waits.get(key)
        if own is not None:
            own.until = now + wait

    def served(self, key: str) -> None:
        """End the wait of ``key`` and that of everyone: the target has served it."""
        self._waits.pop(key, None)
        self._everyone = None

    def current(self, key: str, now: float) -> Wait | None:
        """Return the wait that binds ``key`` now, if there is one."""
        own, everyone = self._waits.get(key), self._everyone
        if own is not None and own.until > now:
            return own
        if everyone is not None and everyone.until > now:
            return everyone
        return None

    def longest(self, now: float) -> Wait | None:
        """Return the wait that ends last, for a page that shows it."""
        waits = [each for each in self._waits.values() if each.until > now]
        return max(waits, key=lambda each: each.until, default=None)

    def take_trickle(self, now: float) -> bool:
        """Take the place of the next request that is sent in spite of the waits."""
        if now < self._trickle_at:
            return False
        self._trickle_at = now + TRICKLE_EVERY
        return True

    def over(self, now: float) -> bool:
        """Whether nothing of any wait matters any more."""
        self._prune(now)
        return not self._waits

    def _prune(self, now: float) -> None:
        horizon = now - FORGET_AFTER
        for key in [k for k, each in self._waits.items() if each.until < horizon]:
            del self._waits[key]
        if not self._waits:
            self._everyone = None


def needed_in_a_row(samples: int) -> int:
    """Return the refusals in a row that are more than chance.

    Args:
        samples: Attempts of the last minute. At a busy target some stand in a row by
            chance, and believing them costs every request until one is served.
    """
    return min(max(samples // 10, 2), MAX_IN_A_ROW)


def _renew(wait: Wait, until: float, needed: int, reason: str) -> None:
    wait.until = until
    wait.reason = reason
    wait.in_a_row += 1
    wait.strict = wait.in_a_row >= needed
