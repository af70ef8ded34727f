"""API keys: through a running gateway, or in the database where none runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gandalf.cli.gateway import running, with_database
from gandalf.cli.output import (
    MISUSED,
    OK,
    REFUSED,
    fail,
    now,
    print_json,
    print_table,
    say,
)

if TYPE_CHECKING:
    from gandalf.http.admin.client import Api
    from gandalf.storage.database import Database

SHORTEST_PREFIX = 8
"""A shorter prefix may mean another key than the one thought of."""
_PAGE = 100


def create(args: argparse.Namespace) -> int:
    """Make a key; its text is all there is on stdout."""
    from gandalf.cli.resources import body_of
    from gandalf.http.admin.keys import NewKey

    body = body_of(args, NewKey)
    if getattr(args, "max_budget", None) is not None:
        body["max_budget"] = args.max_budget
    if (api := running(args)) is not None:
        return _created(api.call("POST", "/keys", body=body).data, args)
    return _create_stored(body, args)


def _create_stored(body: dict[str, Any], args: argparse.Namespace) -> int:
    import msgspec

    from gandalf.domain.budgets import Unit, parse_amount
    from gandalf.domain.ids import new_id
    from gandalf.domain.keys import StoredKey, hash_key, new_key, shown_prefix
    from gandalf.http.admin.keys import NewKey, plain_key
    from gandalf.storage.keys import KeyStore
    from gandalf.storage.tenants import NoSuchParent

    most = body.pop("max_budget", None)
    try:
        wanted = msgspec.convert(body, NewKey)
        nanousd = None if most is None else parse_amount(str(most), Unit.USD)
    except (msgspec.ValidationError, ValueError) as error:
        return fail(str(error), MISUSED)
    secret, made_at = new_key(), now()
    fields = msgspec.structs.asdict(wanted)
    fields.pop("max_budget", None)
    at = fields.pop("expires_at")
    expires_at = None if at is None else at.timestamp()
    if args.expires_in is not None:
        expires_at = made_at + args.expires_in
    key = StoredKey(
        key_id=new_id(),
        key_hash=hash_key(secret.reveal().encode()),
        key_prefix=shown_prefix(secret),
        **msgspec.convert(
            {name: value for name, value in fields.items() if name != "org_id"},
            dict[str, Any],
        )
        | {
            "org_id": wanted.org_id or "default",
            "allowed_models": tuple(wanted.allowed_models),
            "allowed_providers": tuple(wanted.allowed_providers),
        },
        max_budget_nanousd=nanousd,
        expires_at=expires_at,
        created_at=made_at,
    )

    async def insert(database: Database) -> int:
        try:
            if await KeyStore(database).insert(key):
                say(f"the organization {key.org_id!r} is new")
        except NoSuchParent as error:
            return fail(str(error), REFUSED)
        return OK

    status = with_database(args, insert, new=True)
    if status != OK:
        return status
    say("a running gateway on this database knows it in a second")
    return _created({**plain_key(key), "key": secret.reveal()}, args)


def _created(made: dict[str, Any], args: argparse.Namespace) -> int:
    if args.json:
        print_json(made)
        return OK
    say(f"{made['role']} key {made['id']} of the organization {made['org_id']}")
    say("Keep it now, it is not shown again:")
    print(made["key"])
    return OK


def list_all(args: argparse.Namespace) -> int:
    """List keys."""
    if (api := running(args)) is not None:
        wanted = {"org_id": args.field_org_id, "team_id": args.field_team_id}
        return _listed(_all(api, wanted), args)
    from gandalf.http.admin.keys import plain_key
    from gandalf.storage.keys import KeyStore

    async def show(database: Database) -> int:
        views = [plain_key(key) for key in await KeyStore(database).all()]
        return _listed(
            [
                view
                for view in views
                if args.field_org_id in (None, view["org_id"])
                and args.field_team_id in (None, view["team_id"])
            ],
            args,
        )

    return with_database(args, show, reading=True)


def _all(api: Api, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = []
    while True:
        page = api.call(
            "GET", "/keys", query=wanted | {"limit": _PAGE, "offset": len(keys)}
        ).data
        keys += page["data"]
        if not page["data"] or len(keys) >= page["pagination"]["total"]:
            return list(reversed(keys))  # oldest first


def _listed(keys: list[dict[str, Any]], args: argparse.Namespace) -> int:
    if args.json:
        print_json(keys)
    else:
        print_keys(keys)
    return OK


def print_keys(keys: Sequence[dict[str, Any]]) -> None:
    """Print keys as a table."""
    names = "ID PREFIX STATE ROLE ORG NAME MODELS RPM TPM EXPIRES USED"
    print_table(names.split(), [_row(key) for key in keys])


def revoke(args: argparse.Namespace) -> int:
    """Revoke a key by its id, a prefix or its text."""
    if (api := running(args)) is not None:
        return _revoke_running(api, args)
    from gandalf.http.admin.keys import plain_key
    from gandalf.storage.keys import KeyStore

    async def work(database: Database) -> int:
        store = KeyStore(database)
        keys = [plain_key(key) for key in await store.all()]
        found = _meant(keys, args.key)
        if isinstance(found, int):
            return found
        if found["blocked"]:
            print(f"{found['id']} was revoked before")
            return OK
        await store.revoke(found["id"])
        print(f"{found['id']} is revoked; a running gateway refuses it in a second")
        return OK

    return with_database(args, work)


def _revoke_running(api: Api, args: argparse.Namespace) -> int:
    found = _meant(_all(api, {}), args.key)
    if isinstance(found, int):
        return found
    api.call("DELETE", f"/keys/{found['id']}", query={"cut": args.cut})
    print(f"{found['id']} is revoked, from the next request on")
    return OK


def _meant(keys: list[dict[str, Any]], text: str) -> dict[str, Any] | int:
    """Return the key that ``text`` means, or the exit code if there is not just one."""
    found = [key for key in keys if _is_meant(key, text)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = "\n  ".join(key["id"] for key in found)
        return fail(f"{shown_key(text)!r} may be any of these; say which:\n  {ids}")
    if text and len(text) < SHORTEST_PREFIX:
        return fail(
            f"there is no key {text!r}; a prefix needs {SHORTEST_PREFIX} characters"
        )
    return fail(f"there is no key {shown_key(text)!r}")


def shown_key(text: str) -> str:
    """Return what may be shown of the text of a key."""
    return f"{text[:12]}..." if text.startswith("gnd_") and len(text) > 12 else text


def _is_meant(key: dict[str, Any], text: str) -> bool:
    if text == key["id"]:
        return True
    prefix: str = key["key_prefix"]
    if len(prefix) > len("gnd_") and text.startswith(prefix):
        return True  # The text of the key itself.
    begins = str(key["id"]).startswith(text) or prefix.startswith(text)
    return begins and len(text) >= SHORTEST_PREFIX


def _row(key: dict[str, Any]) -> list[str]:
    from gandalf.cli.output import time_text

    expires = key["expires_at"]
    expired = expires is not None and expires <= time_text(now())
    state = "revoked" if key["blocked"] else "expired" if expired else "active"
    return [
        key["id"],
        key["key_prefix"],
        state,
        str(key["role"]),
        key["org_id"],
        key["name"] or "-",
        ",".join(key["allowed_models"]) or "all",
        _limit(key["rpm_limit"]),
        _limit(key["tpm_limit"]),
        _second(expires),
        _second(key["last_used_at"]),
    ]


def _second(at: str | None) -> str:
    """Return a time of the API without its milliseconds."""
    return "never" if at is None else f"{at[:19]}Z"


def _limit(value: int | None) -> str:
    return "default" if value is None else str(value) if value else "unlimited"
