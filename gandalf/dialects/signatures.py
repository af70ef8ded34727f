"""Seals on thinking, carried through a client that speaks another provider's dialect.

A provider signs what its model thought and wants it back byte for byte. Its seal means
nothing to any other provider, which refuses what it has not signed itself. So a seal
that travels in a field of another dialect is wrapped with the name of its origin, and
whoever gets it back knows whether to use it or to leave the block out. The result is
valid base64, for Google's SDK decodes the field.
"""

from __future__ import annotations

import base64
import binascii

_MARK = b"gandalf/"


def wrap(origin: str, seal: str) -> str:
    """Return ``seal``, which a provider of the dialect ``origin`` has made, wrapped."""
    return base64.b64encode(_MARK + f"{origin}/{seal}".encode()).decode()


def unwrap(seal: str, own: str) -> tuple[str, str]:
    """Return origin and seal of what stands in a signature field of ``own``.

    What is not wrapped was made by a provider of that dialect itself.
    """
    if not seal.startswith("Z2FuZGFsZi"):  # base64 of the mark
        return own, seal
    try:
        content = base64.b64decode(seal, validate=True)
    except (binascii.Error, ValueError):
        return own, seal
    if not content.startswith(_MARK):
        return own, seal
    origin, _, inner = (
        content.removeprefix(_MARK).decode(errors="replace").partition("/")
    )
    return origin, inner
