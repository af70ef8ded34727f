"""What the pipeline says to the trace of one exchange. Imports no OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gandalf.domain.usage import Attempt

Attributes = Mapping[str, str | bool | int | float | Sequence[str]]
TraceHeaders = tuple[tuple[bytes, bytes], ...]


class Trace(Protocol):
    """The part that one exchange has in a distributed trace."""

    @property
    def recording(self) -> bool:
        """Whether anybody will see it. If not, only ``sending`` matters."""

    def sending(self, attempt: Attempt, name: str) -> TraceHeaders:
        """Begin the span of ``attempt``; return the fields that carry it upstream."""

    def end_attempt(
        self, attempt: Attempt, attributes: Attributes, error: str = ""
    ) -> None:
        """Complete the span of ``attempt``; an event if it was never sent."""

    def end(self, attributes: Attributes, error: str = "") -> None:
        """Complete the exchange's own span, with ``error`` as what it failed of."""
