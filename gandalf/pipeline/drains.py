"""Upstreams that are read to their end although their client has left.

Some providers bill the whole answer even if the connection is closed; reading on is
then the only way to learn what was used. How many at once is bounded.
"""

from __future__ import annotations

from gandalf.config import Disconnect


class Drains:
    """The places for drained exchanges at one provider."""

    __slots__ = ("disconnect", "running")

    def __init__(self, disconnect: Disconnect) -> None:
        self.disconnect = disconnect
        self.running = 0

    def take(self) -> float:
        """Return for how many seconds to read on; 0 means: cancel at once."""
        wanted = self.disconnect.policy == "drain"
        if not wanted or self.running >= self.disconnect.max_concurrent:
            return 0.0
        self.running += 1
        return self.disconnect.max_seconds

    def give_back(self) -> None:
        """End a drain that ``take`` allowed."""
        self.running -= 1
