"""The audit trail: each change of the gateway's state, and each refused attempt."""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class Outcome(enum.StrEnum):
    """The result of an audited action."""

    DONE = "done"
    REFUSED = "refused"
    """The caller may not do this, or the change is invalid; nothing was changed."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One action of one actor on one object. Holds no secret: they are fingerprints."""

    id: str
    """Sorts by time."""
    at: float
    """Unix time in seconds."""
    actor: str
    """Id of the key or subject of the token that asked for it; ``cli`` for a command
    that worked on the database itself."""
    actor_org: str
    remote: str = ""
    """Network address of the client."""
    request_id: str = ""
    action: str
    """``providers.create``, ``keys.revoke``, ..."""
    object: str = ""
    """Kind and id: ``provider/openai``."""
    org_id: str = ""
    """Organisation that the object belongs to; empty for objects of the gateway."""
    outcome: Outcome = Outcome.DONE
    reason: str = ""
    """Why it was refused."""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
