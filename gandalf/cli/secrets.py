"""Secrets sealed in the database: whether they can be opened, and by which key."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from gandalf.cli.gateway import with_database
from gandalf.cli.output import FAILED, OK, fail, print_table, say

if TYPE_CHECKING:
    from gandalf.config.sealing import MasterKeys, Place
    from gandalf.domain.managed import ManagedObject
    from gandalf.storage.database import Database


class _Sealed(NamedTuple):
    place: Place
    key_id: str
    fault: str
    """Why it cannot be opened; empty if it can."""


def check(args: argparse.Namespace) -> int:
    """Show each sealed secret and whether it can be opened."""
    from gandalf.storage.managed import ManagedStore

    async def show(database: Database) -> int:
        keys = _keys()
        managed = await ManagedStore(database).load()
        found = [one for thing in managed.objects for one in _sealed(thing, keys)]
        rows = [
            [f"{s.place.kind}/{s.place.name}", s.place.field, s.key_id, s.fault or "ok"]
            for s in found
        ]
        print_table(["OBJECT", "FIELD", "KEY", "STATE"], rows)
        return FAILED if any(one.fault for one in found) else OK

    return with_database(args, show, reading=True)


def rotate(args: argparse.Namespace) -> int:
    """Seal every secret with the newest master key."""
    from gandalf.storage.managed import Edit, ManagedStore

    async def run(database: Database) -> int:
        keys, store = _keys(), ManagedStore(database)
        if not keys:
            return fail("GANDALF_MASTER_KEY is not set")
        objects = (await store.load()).objects
        found = [one for thing in objects for one in _sealed(thing, keys)]
        if faults := [f"{one.place}: {one.fault}" for one in found if one.fault]:
            return fail("\n".join(faults))
        old = {one.place[:2] for one in found if one.key_id != keys.newest}
        edits = [
            Edit(
                kind=thing.kind,
                name=thing.name,
                spec=_resealed(thing, keys),
                expected_version=thing.version,
            )
            for thing in objects
            if (thing.kind, thing.name) in old
        ]
        if edits:
            entries = [_entry(edit.kind, edit.name, keys.newest) for edit in edits]
            await store.change(edits, lambda _: None, entries, time.time())
        say(f"{len(edits)} object(s) sealed anew with the master key {keys.newest}")
        return OK

    return with_database(args, run)


def _keys() -> MasterKeys:
    from gandalf.config.sealing import master_keys

    return master_keys(os.environ)


def _sealed(thing: ManagedObject, keys: MasterKeys) -> list[_Sealed]:
    from gandalf.config.merge import SECRET_FIELDS
    from gandalf.config.sealing import (
        CannotOpen,
        Place,
        is_sealed,
        key_id_of,
        secret_fields,
    )

    found = []
    for field in secret_fields(thing.spec, SECRET_FIELDS[thing.kind]):
        if is_sealed(field.value):
            place, fault = Place(thing.kind, thing.name, field.path), ""
            try:
                keys.open(field.value, place)
            except CannotOpen as error:
                fault = str(error)
            found.append(_Sealed(place, key_id_of(field.value), fault))
    return found


def _resealed(thing: ManagedObject, keys: MasterKeys) -> dict[str, Any]:
    import msgspec

    from gandalf.config.merge import SECRET_FIELDS
    from gandalf.config.sealing import Place, is_sealed, secret_fields

    spec: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(thing.spec))
    for field in list(secret_fields(spec, SECRET_FIELDS[thing.kind])):
        if is_sealed(field.value):
            place = Place(thing.kind, thing.name, field.path)
            field.put(keys.seal(keys.open(field.value, place), place))
    return spec


def _entry(kind: str, name: str, key_id: str) -> Any:  # noqa: ANN401 - an AuditEntry
    from gandalf.domain.audit import AuditEntry
    from gandalf.domain.ids import new_id

    return AuditEntry(
        id=new_id(),
        at=time.time(),
        actor="cli",
        actor_org="default",
        action="secrets.rotate",
        object=f"{kind}/{name}",
        after={"master_key": key_id},
    )
