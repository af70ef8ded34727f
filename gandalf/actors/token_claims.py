"""From the claims of a verified token to an identity. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gandalf.config import Issuer
from gandalf.domain.budgets import TAG, tag_values
from gandalf.domain.errors import PermissionDenied
from gandalf.domain.identity import JWT_ID_PREFIX, Identity, Role
from gandalf.domain.tenants import Tenant, TenantKind, Tenants

OPERATOR_ORG = "default"
"""Its administrators administer the whole gateway; see ``http.admin.scope``."""

MAX_SUBJECT = 200
"""Characters of a subject. OpenID Connect allows 255 bytes; issuers use under 100."""

# As the admin API has it, so that a tenant that a token made can be changed there; and
# the bar that Auth0's subjects have.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@|:-]{0,127}")

EVERY = "*"


def identity_of(claims: Mapping[str, Any], issuer: Issuer) -> Identity:
    """Return the identity that ``claims`` stand for, without what it inherits.

    Raises:
        PermissionDenied: A claim cannot be used here, or names what is not allowed.
    """
    subject = claims["sub"]
    if len(subject) > MAX_SUBJECT or not subject.isprintable():
        raise _refused("the token's subject is too long or not printable")
    paths = issuer.claims
    org_id = _id(claims, paths.org, "organization") or issuer.org_id
    allowed = issuer.organizations or (issuer.org_id,)
    if org_id not in allowed and EVERY not in allowed:
        raise _refused("the token's issuer may not name this organization")
    role = _role(claims, issuer)
    if role is Role.ADMIN and org_id == OPERATOR_ORG and not issuer.allow_operator:
        raise _refused(
            "the token's issuer may not name administrators of the whole gateway"
        )
    return Identity(
        key_id=f"{JWT_ID_PREFIX}{issuer.name}:{subject}",
        org_id=org_id,
        team_id=_id(claims, paths.team, "team"),
        user_id=_id(claims, paths.user, "user"),
        role=role,
        tags=_tags(find(claims, paths.tags)),
    )


def find(claims: object, path: str) -> object:
    """Return the claim at the dotted ``path``; None if there is none.

    A name that has dots itself (``https://example.com/roles``) is found as well.
    """
    if not path or not isinstance(claims, dict):
        return None
    if path in claims:
        found: object = claims[path]
        return found
    for dot in (i for i, character in enumerate(path) if character == "."):
        inner = claims.get(path[:dot])
        if inner is not None and (value := find(inner, path[dot + 1 :])) is not None:
            return value
    return None


def missing_tenants(identity: Identity, tenants: Tenants) -> list[Tenant]:
    """Return the team and the user of ``identity`` that do not exist, in this order.

    Raises:
        PermissionDenied: Its organisation does not exist, or its team or user belongs
            to another one.
    """
    by_id = tenants.by_id
    if (TenantKind.ORGANIZATION, identity.org_id) not in by_id:
        raise _refused("the token's organization does not exist here")
    missing = []
    for kind, tenant_id, team_id in (
        (TenantKind.TEAM, identity.team_id, None),
        (TenantKind.USER, identity.user_id, identity.team_id),
    ):
        if tenant_id is None:
            continue
        present = by_id.get((kind, tenant_id))
        if present is None:
            missing.append(
                Tenant(kind=kind, id=tenant_id, org_id=identity.org_id, team_id=team_id)
            )
        elif present.org_id != identity.org_id:
            noun = kind.removesuffix("s")
            raise _refused(f"the token's {noun} belongs to another organization")
    return missing


def unknown(tenant: Tenant) -> PermissionDenied:
    """Return the 403 for a token that names a tenant that does not exist."""
    return _refused(
        f"the token's {tenant.kind.removesuffix('s')} is not known here; an"
        " administrator must make it first"
    )


def _role(claims: Mapping[str, Any], issuer: Issuer) -> Role:
    held = _texts(find(claims, issuer.claims.role))
    for rule in issuer.roles:
        if rule.value in held:
            return rule.role
    if issuer.default_role is None:
        raise _refused("the token has none of the roles that may use this gateway")
    return issuer.default_role


def _id(claims: Mapping[str, Any], path: str, noun: str) -> str | None:
    value = find(claims, path)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or value == [] or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _refused(f"the token's claim {path!r} is no id of one {noun}")
    return value


def _tags(value: object) -> dict[str, str]:
    if isinstance(value, dict):
        texts = [f"{k}={v}" if v else k for k, v in value.items()]
    else:
        texts = _texts(value)
    if not all(TAG.fullmatch(text) for text in texts):
        raise _refused("the token's tags hold characters that a tag cannot have")
    return tag_values(texts)


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def _refused(message: str) -> PermissionDenied:
    return PermissionDenied(message, code="token_not_allowed")
