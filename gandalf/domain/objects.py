"""What upstreams keep for clients: files, batches, stored responses."""

from __future__ import annotations

import re

import msgspec

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=~-]{0,199}")
"""What an object may be called: nothing that means something in a path, or too much."""


class ProviderObject(msgspec.Struct, frozen=True, kw_only=True):
    """One object that an upstream made for a client of ours, and keeps."""

    id: str
    """As the upstream calls it."""
    kind: str
    """``file``, ``batch``, ``response``."""
    provider: str
    """Instance name of the provider that has it."""
    org_id: str
    """Whose it is. To any other organisation it does not exist."""
    key_id: str = ""
    """The key that it was made with."""
    created_at: float = 0.0
    """Unix time in seconds, by our clock."""
    usage_due: bool = False
    """Whether what it uses will be told later, and has not been accounted for yet."""
    shown: str = ""
    """The upstream's last description of it, JSON, for lists; empty if there was none
    worth keeping."""


class SeenObject(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer tells of one object."""

    id: str
    kind: str
    usage_due: bool = False
    """Whether it goes on, and says what it used only when it has ended."""
    deleted: bool = False
    shown: str = ""
