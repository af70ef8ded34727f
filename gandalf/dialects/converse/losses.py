"""What one request loses because of the model that it is for."""

from __future__ import annotations

from gandalf.dialects.conversation import Feature


class Losses:
    """Collects it while the request is rendered."""

    __slots__ = ("approximated", "dropped")

    def __init__(self) -> None:
        self.dropped: set[Feature] = set()
        self.approximated: set[Feature] = set()

    def drop(self, feature: Feature) -> None:
        """Note that nothing of ``feature`` is in the request."""
        self.dropped.add(feature)

    def approximate(self, feature: Feature) -> None:
        """Note that the request says nearly what was asked for."""
        self.approximated.add(feature)
