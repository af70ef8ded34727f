"""Text that never shows itself: API keys and everything else nobody may read."""

from __future__ import annotations


class Secret:
    """Holds a secret string; ``reveal`` is the only way to see it.

    ``repr``, ``str`` and formatting all give ``***``, so a secret that ends up in a
    log line, an exception or a debugger's view of a struct stays a secret.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself. Call it where the secret is used, nowhere else."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***"
